//! Shapes: the fields that a server is configured for, told to it and to the reference alike.

use std::fmt::Write;
use std::sync::LazyLock;

/// One field of a shape.
#[derive(Clone, Debug)]
pub(crate) struct FieldShape {
    pub(crate) name: String,
    /// Its place in every answer.
    pub(crate) index: usize,
    pub(crate) is_required: bool,
    /// The least and the greatest value, as the flag writes them.
    pub(crate) range: Option<[&'static str; 2]>,
    /// The least distance from the mean that is an anomaly.
    pub(crate) least_deviation: f64,
}

/// A field of a shape that lives as long as the tests.
pub(crate) type Field = &'static FieldShape;

/// The fields of one server.
#[derive(Debug)]
pub(crate) struct Shape {
    /// In the order of answers: the required ones, then the others.
    fields: Vec<FieldShape>,
    /// The options that tell the server of it; none where it is the default.
    pub(crate) flags: Vec<String>,
    /// The names of the members that carry the device id and the time.
    pub(crate) names: Names,
}

/// Names of the member that carries the device id, and of the one that carries the time.
pub(crate) type Names = [&'static [&'static str]; 2];

/// Returns a field that every event has.
pub(crate) fn required(name: &str) -> FieldShape {
    FieldShape { is_required: true, ..optional(name) }
}

/// Returns a field that an event may have.
pub(crate) fn optional(name: &str) -> FieldShape {
    let name = name.to_owned();
    FieldShape { name, index: 0, is_required: false, range: None, least_deviation: 0.0 }
}

impl FieldShape {
    /// Returns the field with values from the one to the other.
    pub(crate) fn within(self, least: &'static str, greatest: &'static str) -> Self {
        Self { range: Some([least, greatest]), ..self }
    }

    /// Returns the field, where a smaller distance from the mean is no anomaly.
    pub(crate) fn deviating(self, least_deviation: f64) -> Self {
        Self { least_deviation, ..self }
    }

    /// Appends its entry of the flag.
    fn write_flag(&self, out: &mut String) {
        out.push_str(&self.name);
        if !self.is_required {
            out.push('?');
        }
        if let Some([least, greatest]) = self.range {
            write!(out, "={least}..{greatest}").unwrap();
        }
        if self.least_deviation > 0.0 {
            write!(out, "~{}", self.least_deviation).unwrap();
        }
    }
}

impl Shape {
    /// Returns the shape of these fields, in the order in which the server is told of them.
    pub(crate) fn leak(fields: &[FieldShape]) -> &'static Self {
        Box::leak(Box::new(Self::of(fields)))
    }

    /// Returns the shape of these fields, under other names for the device id and the time.
    pub(crate) fn leak_with(fields: &[FieldShape], names: Names) -> &'static Self {
        let mut shape = Self::of(fields);
        let flags = ["--device-name", "--timestamp-name"].into_iter().zip(names);
        shape.flags.extend(flags.map(|(flag, names)| format!("{flag}={}", names.join(","))));
        Box::leak(Box::new(Self { names, ..shape }))
    }

    fn of(fields: &[FieldShape]) -> Self {
        let mut flag = String::from("--fields=");
        for field in fields {
            field.write_flag(&mut flag);
            flag.push(',');
        }
        flag.pop();
        Self::told_by(fields, vec![flag])
    }

    fn told_by(fields: &[FieldShape], flags: Vec<String>) -> Self {
        let (required, optional): (Vec<_>, Vec<_>) =
            fields.iter().cloned().partition(|field| field.is_required);
        let mut fields = [required, optional].concat();
        for (index, field) in fields.iter_mut().enumerate() {
            field.index = index;
        }
        Self { fields, flags, names: [&["device_id"], &["timestamp"]] }
    }

    /// Returns the shape of a server that is told nothing: cpu and rps.
    pub(crate) fn standard() -> &'static Self {
        static STANDARD: LazyLock<Shape> =
            LazyLock::new(|| Shape::told_by(&[required("cpu"), required("rps")], Vec::new()));
        &STANDARD
    }

    /// Returns all fields, required ones first.
    pub(crate) fn fields(&'static self) -> impl ExactSizeIterator<Item = Field> + Clone {
        self.fields.iter()
    }

    /// Returns true if every event has some of the fields.
    pub(crate) fn has_required(&self) -> bool {
        self.fields.iter().any(|field| field.is_required)
    }
}

#[test]
fn the_flag_says_all_of_it() {
    let fields = [
        optional("a").within("-40", "85.5").deviating(0.5),
        required("b"),
        optional("c").deviating(2.0),
        required("d").within("0", "1e6"),
    ];
    let shape = Shape::leak(&fields);
    assert_eq!(shape.flags, ["--fields=a?=-40..85.5~0.5,b,c?~2,d=0..1e6"]);
    let renamed = Shape::leak_with(&fields, [&["id", "Host"], &["t"]]);
    assert_eq!(renamed.flags[0], shape.flags[0]);
    assert_eq!(renamed.flags[1..], ["--device-name=id,Host", "--timestamp-name=t"]);
    let order: Vec<_> = shape.fields().map(|field| (field.index, field.name.as_str())).collect();
    assert_eq!(order, [(0, "b"), (1, "d"), (2, "a"), (3, "c")]);
}
