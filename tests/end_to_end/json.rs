//! Answers read by the letter: a JSON text, and the texts of what is in it.
//!
//! Numbers are parsed from their literals by the standard library, which is exact; `serde_json`
//! alone may be off by the last bit.

use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// One JSON value as it was written.
#[derive(Clone, Copy)]
pub(crate) struct Json<'a>(pub(crate) &'a str);

impl<'a> Json<'a> {
    /// The members of this object.
    pub(crate) fn members(self) -> BTreeMap<&'a str, Json<'a>> {
        let members: BTreeMap<&str, &RawValue> = serde_json::from_str(self.0)
            .unwrap_or_else(|error| panic!("no object: {error} in {}", self.0));
        members.into_iter().map(|(name, value)| (name, Json(value.get()))).collect()
    }

    /// A member of this object, if it is there.
    pub(crate) fn find(self, name: &str) -> Option<Json<'a>> {
        self.members().remove(name)
    }

    /// The value under a path of names, such as `window.size`.
    pub(crate) fn at(self, path: &str) -> Json<'a> {
        path.split('.').fold(self, |value, name| {
            let found = value.find(name);
            found.unwrap_or_else(|| panic!("no {name} of {path} in {}", self.0))
        })
    }

    /// The elements of this array.
    pub(crate) fn elements(self) -> Vec<Json<'a>> {
        let elements: Vec<&RawValue> = serde_json::from_str(self.0).unwrap();
        elements.into_iter().map(|value| Json(value.get())).collect()
    }

    /// A whole number.
    pub(crate) fn whole(self, path: &str) -> u64 {
        let text = self.at(path).0;
        text.parse().unwrap_or_else(|_| panic!("{path}: {text} is no whole number"))
    }

    /// A number; `None` for `null`.
    pub(crate) fn number(self, path: &str) -> Option<f64> {
        self.at(path).value()
    }

    /// This as a number; `None` for `null`.
    pub(crate) fn value(self) -> Option<f64> {
        let text = self.0;
        (text != "null").then(|| text.parse().unwrap_or_else(|_| panic!("{text} is no number")))
    }

    /// A string; `None` for `null`.
    pub(crate) fn text(self, path: &str) -> Option<String> {
        serde_json::from_str(self.at(path).0).unwrap()
    }

    /// `true` or `false`.
    pub(crate) fn truth(self, path: &str) -> bool {
        serde_json::from_str(self.at(path).0).unwrap()
    }
}

#[test]
fn values_are_read_by_the_letter() {
    let json = Json(r#"{"a":{"b":[1,{"c":null}],"d":51.846000000000004},"e":"x","f":true}"#);
    assert_eq!(json.number("a.d"), Some(51.846_000_000_000_004));
    assert_eq!(json.at("a.b").elements()[1].number("c"), None);
    assert_eq!(json.at("a.b").elements()[0].0, "1");
    assert!(json.truth("f") && json.text("e").as_deref() == Some("x"));
    assert!(json.find("g").is_none());
}
