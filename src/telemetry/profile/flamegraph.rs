//! Flamegraphs as SVG, drawn from folded stacks.

use std::io;

use inferno::flamegraph::{self, Options};

/// Frames narrower than this percentage of the whole are left out, as they would be invisible.
const WIDTH_PERCENT_MIN: f64 = 0.05;

/// The picture of a profile without samples.
const EMPTY: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" width="600" height="40">
<text x="10" y="25" font-family="sans-serif" font-size="14">No CPU time was used meanwhile.</text>
</svg>
"#;

/// Draws stacks in the folded format: a line each, its frames from the outermost on separated by
/// semicolons, then a space and the number of samples.
///
/// # Errors
///
/// A line has another format.
pub(super) fn draw(stacks: &[String], title: &str) -> io::Result<Vec<u8>> {
    if stacks.is_empty() {
        return Ok(EMPTY.as_bytes().to_vec());
    }
    let mut options = Options::default();
    title.clone_into(&mut options.title);
    options.min_width = WIDTH_PERCENT_MIN;
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, stacks.iter().map(String::as_str), &mut svg)?;
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_drawn_by_their_names() {
        let stacks = ["core-0;run;a<b> 3".to_owned(), "core-1;run 1".to_owned()];
        let svg = String::from_utf8(draw(&stacks, "CPU time").unwrap()).unwrap();
        assert!(svg.starts_with("<?xml"), "{svg}");
        for part in ["CPU time", "<title>run (3 samples, 75.00%)", "a&lt;b&gt;", "core-1"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
    }

    #[test]
    fn nothing_is_a_picture_as_well() {
        assert!(draw(&[], "CPU time").unwrap().starts_with(b"<svg"));
    }
}
