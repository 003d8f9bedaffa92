//! Enums whose variants have a name, such as the value of a metric's label.

/// Declares an enum of which each variant has a name. It can be counted by index and shown by name.
///
/// ```
/// percore::named_enum! {
///     /// A side.
///     pub enum Side {
///         /// The left one.
///         Left = "left",
///         /// The other one.
///         Right = "right",
///     }
/// }
/// assert_eq!(Side::ALL.map(Side::name), Side::NAMES);
/// assert_eq!(Side::ALL[Side::Right.index()], Side::Right);
/// assert_eq!(Side::Right.name(), "right");
/// ```
#[macro_export]
macro_rules! named_enum {
    ($(#[$about:meta])* $visibility:vis enum $Enum:ident {
        $($(#[$meaning:meta])* $Variant:ident = $name:literal,)+
    }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $Enum { $($(#[$meaning])* $Variant),+ }

        impl $Enum {
            /// All variants, each at its [`Self::index`].
            $visibility const ALL: [Self; [$($name),+].len()] = [$(Self::$Variant),+];

            /// The names of [`Self::ALL`], in its order.
            $visibility const NAMES: [&'static str; Self::ALL.len()] = [$($name),+];

            /// Returns the name.
            $visibility const fn name(self) -> &'static str {
                match self { $(Self::$Variant => $name),+ }
            }

            /// Returns the place in [`Self::ALL`].
            $visibility const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::http::headers::HeaderName;
    use crate::observer::CloseReason;

    #[test]
    fn variants_stand_at_their_index() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!((reason.index(), reason.name()), (index, CloseReason::NAMES[index]));
        }
        for (index, name) in HeaderName::ALL.into_iter().enumerate() {
            assert_eq!((name.index(), name.name()), (index, HeaderName::NAMES[index]));
        }
    }
}
