//! Short pieces of text, copied as blocks of a constant size.
//!
//! A record is copied together from pieces of some bytes each, and a call that copies so few costs
//! more than the copying. So a whole block is copied, and what lies behind the piece is cut off
//! again or written over; or the piece is copied as two words that overlap.

/// The bytes of a block; longer pieces are copied by a call.
pub const BLOCK_BYTES: usize = 16;

/// Copies the first `len` bytes of a block to `out`, beginning at `at`; there has to be room for
/// all of it. Returns where they end.
#[inline(always)]
pub fn copy_block<const N: usize>(
    block: &[u8; N],
    len: usize,
    out: &mut [u8],
    at: usize,
) -> Option<usize> {
    *out.get_mut(at..)?.first_chunk_mut()? = *block;
    Some(at + len)
}

/// Copies a text to `out`, beginning at `at`. Returns where it ends; `None` if there is no room.
#[inline(always)]
pub fn copy(text: &[u8], out: &mut [u8], at: usize) -> Option<usize> {
    let end = at + text.len();
    let place = out.get_mut(at..end)?;
    let len = text.len();
    if len >= 8 {
        if len <= 16 {
            copy_words::<8>(text, place)?;
        } else if len <= 32 {
            copy_words::<16>(text, place)?;
        } else {
            place.copy_from_slice(text);
        }
    } else if len >= 4 {
        copy_words::<4>(text, place)?;
    } else if len >= 2 {
        copy_words::<2>(text, place)?;
    } else if len == 1 {
        copy_words::<1>(text, place)?;
    }
    Some(end)
}

/// Copies the first `N` bytes and the last `N`, which are all of a text not longer than two words.
#[inline(always)]
fn copy_words<const N: usize>(text: &[u8], place: &mut [u8]) -> Option<()> {
    *place.first_chunk_mut::<N>()? = *text.first_chunk()?;
    *place.last_chunk_mut::<N>()? = *text.last_chunk()?;
    Some(())
}

/// Copies a text, behind a byte with its length, to `out`, beginning at `at`. Returns where it
/// ends; `None` if there is no room, or the text is longer than a byte can say.
#[inline(always)]
pub fn copy_counted(text: &[u8], out: &mut [u8], at: usize) -> Option<usize> {
    *out.get_mut(at)? = u8::try_from(text.len()).ok()?;
    copy(text, out, at + 1)
}

/// Does the same with the first `len` bytes of a block; there has to be room for all of it.
#[inline(always)]
pub fn copy_counted_block(
    block: &[u8; BLOCK_BYTES],
    len: usize,
    out: &mut [u8],
    at: usize,
) -> Option<usize> {
    let place: &mut [u8; 1 + BLOCK_BYTES] = out.get_mut(at..)?.first_chunk_mut()?;
    let [length, text @ ..] = place;
    *length = u8::try_from(len).ok()?;
    *text = *block;
    Some(at + 1 + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_copied_and_nothing_else_changes() {
        let text: Vec<u8> = (1..=100).collect();
        for len in 0..=text.len() {
            let mut out = [0; 110];
            assert_eq!(copy(&text[..len], &mut out, 5), Some(5 + len));
            assert_eq!(out[5..5 + len], text[..len]);
            assert!(out[..5].iter().chain(&out[5 + len..]).all(|byte| *byte == 0), "{len}");
            let mut exact = vec![0; 5 + len];
            assert_eq!(copy(&text[..len], &mut exact, 5), Some(5 + len));
            assert_eq!(copy(&text[..len], &mut exact, 6), None);
        }
    }

    #[test]
    fn a_counted_text_is_behind_its_length_however_it_is_copied() {
        let block = b"0123456789abcdef";
        for len in 0..=BLOCK_BYTES {
            let expected = [&[len as u8], &block[..len]].concat();
            let mut out = [0; 30];
            assert_eq!(copy_counted_block(block, len, &mut out, 4), Some(5 + len));
            assert_eq!(out[4..5 + len], expected);
            assert_eq!(copy_counted(&block[..len], &mut out, 9), Some(10 + len));
            assert_eq!(out[9..10 + len], expected);
            assert_eq!(copy_counted(&block[..len], &mut out[..9 + len], 9), None);
        }
        for at in [14, 30, 31] {
            assert_eq!(copy_counted_block(block, 3, &mut [0; 30], at), None);
        }
        assert_eq!(copy_counted(&[0; 256], &mut [0; 300], 0), None);
    }

    #[test]
    fn a_block_is_copied_whole_where_there_is_room_for_it() {
        for len in 0..=BLOCK_BYTES {
            let mut out = *b"....................";
            assert_eq!(copy_block(b"0123456789abcdef", len, &mut out, 3), Some(3 + len));
            assert_eq!(&out, b"...0123456789abcdef.");
            assert_eq!(copy_block(b"0123456789abcdef", len, &mut out, 5), None);
        }
    }
}
