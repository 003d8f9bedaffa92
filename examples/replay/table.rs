//! Tables of the user: CSV files whose header names the columns.
//!
//! The columns of the fields, and perhaps those of time and device, may stand in any order and
//! case, and each may have another name. Further columns are not sent, and a warning names them.

use std::collections::HashMap;
use std::path::Path;

use crate::bodies::Members;
use crate::fields::{Field, Fields, is_name};
use crate::series::{Device, Event, file_name, seconds};

/// The name of a column in the table, such as `cpu=load`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renamed {
    member: String,
    header: String,
}

impl std::str::FromStr for Renamed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (member, header) = text.split_once('=').unwrap_or((text, ""));
        let (member, header) = (member.trim().to_owned(), header.trim().to_owned());
        if member.is_empty() || header.is_empty() {
            return Err("expected MEMBER=HEADER, such as cpu=load".to_owned());
        }
        Ok(Self { member, header })
    }
}

/// The members of an event that a table holds, and their headers where these are others.
#[derive(Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) members: &'a Members,
    pub(crate) fields: &'a Fields,
    pub(crate) renamed: &'a [Renamed],
}

impl Columns<'_> {
    /// Checks that each header which is given belongs to a member that is sent.
    fn check(&self) -> Result<(), String> {
        let Members { device_id, timestamp } = self.members;
        for Renamed { member, .. } in self.renamed {
            let is_it = |name: &str| name.eq_ignore_ascii_case(member);
            let is_field = match self.fields {
                Fields::Listed(fields) => fields.iter().any(|field| is_it(&field.name)),
                Fields::Numeric => is_name(member),
            };
            if !is_it(device_id) && !is_it(timestamp) && !is_field {
                let fields = self.fields;
                let names = format!("{timestamp}, {device_id}, {fields}");
                return Err(format!("--column {member}: expected one of {names}"));
            }
        }
        Ok(())
    }

    /// Returns the header that is given for a member.
    fn header_of(&self, member: &str) -> Option<&str> {
        let renamed = self.renamed.iter().rev();
        let said = renamed.into_iter().find(|said| said.member.eq_ignore_ascii_case(member));
        said.map(|said| said.header.as_str())
    }
}

/// The devices of a table in the order of their first rows, and what of it is not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) devices: Vec<Device>,
    /// The headers of columns that are not sent.
    pub(crate) ignored: Vec<String>,
    /// The number of rows in which no field has a value.
    pub(crate) rows_without_values: usize,
}

/// Reads a file. The text of an error names the file, and the line or the columns.
pub(crate) fn read(path: &Path, columns: &Columns<'_>) -> Result<Table, String> {
    columns.check()?;
    let of = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read(path).map_err(|error| of(error.to_string()))?;
    // A table without names of devices is one device.
    let name = file_name(path).ok_or_else(|| of("no name for a device".to_owned()))?;
    parse(&text, &name, columns).map_err(of)
}

fn parse(text: &[u8], name: &str, columns: &Columns<'_>) -> Result<Table, String> {
    // Spreadsheets begin a file with a byte order mark.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter(text)).trim(csv::Trim::All).from_reader(text);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let records: Vec<_> =
        reader.records().collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let places = places(&header, &records, columns)?;
    let ignored = (0..header.len()).filter(|at| !places.contain(*at));
    let ignored = ignored.filter_map(|at| header.get(at)).map(str::to_owned).collect();

    let mut table = Table { devices: Vec::new(), ignored, rows_without_values: 0 };
    let mut numbers = HashMap::new();
    for record in &records {
        let event = event(record, &places)?;
        if event.values.is_empty() {
            table.rows_without_values += 1;
            continue;
        }
        let id = places.device_id.and_then(|at| record.get(at)).unwrap_or(name);
        let number = *numbers.entry(id.to_owned()).or_insert(table.devices.len());
        if number == table.devices.len() {
            table.devices.push(Device { id: id.to_owned(), events: Vec::new() });
        }
        if let Some(device) = table.devices.get_mut(number) {
            device.events.push(event);
        }
    }
    Ok(table)
}

/// Returns the event of a row; it has no values if the cells of all its fields are empty.
fn event(record: &csv::StringRecord, places: &Places) -> Result<Event, String> {
    let cell = |at: usize| record.get(at).unwrap_or_default();
    let mut values = Vec::new();
    for (field, at) in &places.fields {
        let text = cell(*at);
        if text.is_empty() && !field.is_required {
            continue;
        }
        let value = number(text).ok_or_else(|| {
            let line = record.position().map_or(0, csv::Position::line);
            format!("line {line}: {}: expected a number, found `{text}`", field.name)
        })?;
        values.push((field.name.clone(), value));
    }
    let timestamp = places.timestamp.map(cell).filter(|text| !text.is_empty()).map(json_time);
    Ok(Event { timestamp, values })
}

/// Returns the delimiter of the cells: the one that is most frequent in the header.
fn delimiter(text: &[u8]) -> u8 {
    let header = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: &u8| header.iter().filter(|byte| *byte == delimiter).count();
    // If several are as frequent, this is the last of them, such as the comma.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// The positions of the columns that are sent.
#[derive(Debug, Default)]
struct Places {
    timestamp: Option<usize>,
    device_id: Option<usize>,
    fields: Vec<(Field, usize)>,
}

impl Places {
    fn contain(&self, place: usize) -> bool {
        let mut fields = self.fields.iter().map(|(_, at)| *at);
        self.timestamp == Some(place)
            || self.device_id == Some(place)
            || fields.any(|at| at == place)
    }
}

/// Returns the position of each column. The error names everything that is wrong, and all columns
/// of the header.
fn places(
    header: &csv::StringRecord,
    records: &[csv::StringRecord],
    columns: &Columns<'_>,
) -> Result<Places, String> {
    let mut faults = Vec::new();
    let mut unclear = None;
    let mut place = |member: &str, is_required: bool| {
        let said = columns.header_of(member);
        let wanted = said.unwrap_or(member);
        let is_it = |at: &usize| header.get(*at).is_some_and(|n| n.eq_ignore_ascii_case(wanted));
        let mut found = (0..header.len()).filter(is_it);
        let place = found.next();
        if found.next().is_some() {
            faults.push(format!("two columns are called `{wanted}`"));
        } else if place.is_none() && (is_required || said.is_some()) {
            faults.push(format!("no column is called `{wanted}`"));
        } else {
            return place;
        }
        unclear.get_or_insert_with(|| member.to_owned());
        place
    };
    let mut places = Places {
        timestamp: place(&columns.members.timestamp, false),
        device_id: place(&columns.members.device_id, false),
        fields: Vec::new(),
    };
    let fields = match columns.fields {
        Fields::Listed(fields) => fields.clone(),
        Fields::Numeric => numeric(header, records, columns, &places),
    };
    for field in fields {
        if let Some(at) = place(&field.name, field.is_required) {
            places.fields.push((field, at));
        }
    }
    if faults.is_empty() && places.fields.is_empty() {
        faults.push("no column holds a field".to_owned());
    }
    if faults.is_empty() {
        return Ok(places);
    }
    let names: Vec<_> = header.iter().map(|name| format!("`{name}`")).collect();
    let (faults, names) = (faults.join(", "), names.join(", "));
    let member = unclear.unwrap_or_else(|| "FIELD".to_owned());
    let advice = match columns.fields {
        Fields::Listed(_) => "; the bare flag --fields takes all columns of numbers",
        Fields::Numeric => "",
    };
    Err(format!(
        "{faults}; the header has {names} (--column {member}=NAME says which it is{advice})"
    ))
}

/// Returns the fields of a table that nobody listed: those whose headers are given, and the columns
/// that have nothing but numbers and empty cells, and a header that a field may have.
fn numeric(
    header: &csv::StringRecord,
    records: &[csv::StringRecord],
    columns: &Columns<'_>,
    others: &Places,
) -> Vec<Field> {
    let Members { device_id, timestamp } = columns.members;
    let is_other = |name: &str| [device_id, timestamp].iter().any(|o| o.eq_ignore_ascii_case(name));
    let given = columns.renamed.iter().filter(|said| !is_other(&said.member));
    let is_given = |name: &str| given.clone().any(|said| said.header.eq_ignore_ascii_case(name));
    let holds_numbers = |at: usize| {
        let mut cells = records.iter().filter_map(|row| row.get(at)).filter(|c| !c.is_empty());
        cells.clone().next().is_some() && cells.all(|cell| number(cell).is_some())
    };
    let columns = header.iter().enumerate().filter(|(at, name)| {
        is_name(name)
            && !is_other(name)
            && !is_given(name)
            && !others.contain(*at)
            && holds_numbers(*at)
    });
    let mut found: Vec<Field> = Vec::new();
    for name in given.clone().map(|said| &*said.member).chain(columns.map(|(_, name)| name)) {
        if !found.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
            found.push(Field { name: name.into(), is_required: false });
        }
    }
    found
}

/// Returns a number as JSON: unchanged if it is JSON already.
fn number(text: &str) -> Option<String> {
    let value = text.parse::<f64>().ok().filter(|value| value.is_finite())?;
    let is_json = sonic_rs::from_str::<sonic_rs::Number>(text).is_ok();
    Some(if is_json { text.to_owned() } else { value.to_string() })
}

/// Returns a time as JSON: a number unchanged, `YYYY-MM-DD HH:MM:SS` in seconds, and any other text
/// as a string, which the server parses.
fn json_time(text: &str) -> String {
    let seconds = seconds(text).map(|seconds| seconds.to_string());
    seconds.or_else(|| number(text)).unwrap_or_else(|| json_text(text))
}

/// Returns a text as a JSON string.
pub(crate) fn json_text(text: &str) -> String {
    sonic_rs::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed_as(fields: &str, text: &str, renamed: &[&str]) -> Result<Table, String> {
        let renamed: Vec<_> = renamed.iter().map(|said| said.parse().unwrap()).collect();
        let members =
            Members { device_id: "device_id".to_owned(), timestamp: "timestamp".to_owned() };
        let columns =
            Columns { members: &members, fields: &fields.parse().unwrap(), renamed: &renamed };
        columns.check()?;
        parse(text.as_bytes(), "file", &columns)
    }

    fn parsed(text: &str, renamed: &[&str]) -> Result<Table, String> {
        parsed_as("cpu,rps", text, renamed)
    }

    fn with(values: &[(&str, &str)]) -> Event {
        let value = |(name, value): &(&str, &str)| ((*name).into(), (*value).to_owned());
        Event { timestamp: None, values: values.iter().map(value).collect() }
    }

    fn event(timestamp: Option<&str>, cpu: &str, rps: &str) -> Event {
        let timestamp = timestamp.map(str::to_owned);
        Event { timestamp, ..with(&[("cpu", cpu), ("rps", rps)]) }
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let table = parsed(
            "RPS,host,Device_ID,Timestamp, CPU\n\
             10,a,d1,1700000000,1.50\n\
             20,b,d2,2023-11-14 22:13:20, 2\n\
             30,\"a,b\",d1,2023-11-14T22:13:21Z,3\n\
             40,c,,,.5\n",
            &[],
        )
        .unwrap();
        assert_eq!(table.ignored, ["host"]);
        let ids: Vec<_> = table.devices.iter().map(|device| device.id.as_str()).collect();
        assert_eq!(ids, ["d1", "d2", ""]);
        let of = |number: usize| &table.devices[number].events;
        let (first, third) = (Some("1700000000"), Some("\"2023-11-14T22:13:21Z\""));
        assert_eq!(*of(0), [event(first, "1.50", "10"), event(third, "3", "30")]);
        assert_eq!(*of(1), [event(first, "2", "20")]);
        assert_eq!(*of(2), [event(None, "0.5", "40")]);
    }

    #[test]
    fn a_table_without_devices_is_one_named_after_its_file() {
        for text in
            ["cpu,rps\n1,2\n3,4\n", "\u{feff}cpu;rps\r\n1;2\r\n3;4\r\n", "cpu\trps\n1\t2\n3\t4"]
        {
            let Table { devices, ignored, .. } = parsed(text, &[]).unwrap();
            assert_eq!((devices.len(), devices[0].id.as_str()), (1, "file"), "{text:?}");
            assert_eq!(devices[0].events, [event(None, "1", "2"), event(None, "3", "4")]);
            assert!(ignored.is_empty());
        }
    }

    #[test]
    fn a_column_may_have_another_name() {
        let text = "time,load %,requests\n1700000000.5,1,2\n";
        let table = parsed(text, &["cpu=Load %", "RPS=requests", "timestamp=time"]).unwrap();
        assert_eq!(table.devices[0].events, [event(Some("1700000000.5"), "1", "2")]);
        assert!(table.ignored.is_empty());
        for wrong in ["cpu", "cpu=", "=x"] {
            let error = wrong.parse::<Renamed>().unwrap_err();
            assert_eq!(error, "expected MEMBER=HEADER, such as cpu=load");
        }
        let error = parsed(text, &["mem=x"]).unwrap_err();
        assert_eq!(error, "--column mem: expected one of timestamp, device_id, cpu, rps");
    }

    /// A sensor's export, as a user has it.
    const SENSORS: &str = "Time;deviceId;Temperature;humidity %;note;battery;empty\n\
         1;a;21.50;40;ok;;\n2;a;;41;;3.9;\n3;b;;;gone;;\n4;b;+22;;;3.8;\n";

    #[test]
    fn listed_fields_may_have_gaps() {
        let renamed = ["timestamp=time", "device_id=deviceid", "humidity=humidity %"];
        let listed = "temperature?=-40..125~0.5,humidity?=0..100,battery?,pressure?";
        let table = parsed_as(listed, SENSORS, &renamed).unwrap();
        assert_eq!(
            (table.ignored, table.rows_without_values),
            (vec!["note".to_owned(), "empty".to_owned()], 1)
        );
        let [a, b] = &*table.devices else { panic!("{:?}", table.devices) };
        let at = |time: &str, values| Event { timestamp: Some(time.to_owned()), ..with(values) };
        assert_eq!((&*a.id, &*b.id), ("a", "b"));
        assert_eq!(
            a.events,
            [
                at("1", &[("temperature", "21.50"), ("humidity", "40")]),
                at("2", &[("humidity", "41"), ("battery", "3.9")]),
            ]
        );
        assert_eq!(b.events, [at("4", &[("temperature", "22"), ("battery", "3.8")])]);

        let required = parsed_as("temperature,battery?", SENSORS, &renamed[..2]);
        let fault = "line 3: temperature: expected a number, found ``";
        assert_eq!(required, Err(fault.to_owned()));
        let error = parsed_as("pressure?", SENSORS, &renamed[..2]).unwrap_err();
        assert!(error.starts_with("no column holds a field; the header has `Time`"), "{error}");
    }

    #[test]
    fn every_column_of_numbers_is_a_field_if_none_is_listed() {
        let table =
            parsed_as("*", SENSORS, &["device_id=deviceId", "humidity=Humidity %"]).unwrap();
        assert_eq!(table.ignored, ["note", "empty"]);
        let first = [("humidity", "40"), ("Time", "1"), ("Temperature", "21.50")];
        assert_eq!(table.devices[0].events[0], with(&first));
        let table = parsed_as("*", SENSORS, &["timestamp=time", "a=battery", "a=humidity %"]);
        let table = table.unwrap();
        assert_eq!(table.ignored, ["deviceId", "note", "battery", "empty"]);
        assert_eq!(
            table.devices[0].events[0].values,
            with(&[("a", "40"), ("Temperature", "21.50")]).values
        );

        let error = parsed_as("*", SENSORS, &["load %=battery"]).unwrap_err();
        assert_eq!(error, "--column load %: expected one of timestamp, device_id, *");
        assert!(parsed_as("*", "a,A\n1,2\n", &[]).unwrap_err().starts_with("two columns"));
        assert!(parsed_as("*", "a,b\nx,\n", &[]).unwrap_err().starts_with("no column holds"));
    }

    #[test]
    fn a_column_that_is_missing_is_named_beside_those_that_are_there() {
        for (renamed, faults, member) in [
            (&[][..], "no column is called `cpu`, no column is called `rps`", "cpu"),
            (&["cpu=load"], "no column is called `rps`", "rps"),
            (&["cpu=load", "rps=hits"], "no column is called `hits`", "rps"),
            (
                &["cpu=load", "rps=load", "device_id=host"],
                "no column is called `host`",
                "device_id",
            ),
        ] {
            let says = format!(
                "{faults}; the header has `time`, `load` (--column {member}=NAME says which it is; \
                 the bare flag --fields takes all columns of numbers)"
            );
            assert_eq!(parsed("time,load\n1,2\n", renamed), Err(says));
        }
        let none = parsed_as("*", "a\nx\n", &[]).unwrap_err();
        assert!(none.ends_with("(--column FIELD=NAME says which it is)"), "{none}");
        let twice = parsed("cpu,rps,CPU\n1,2,3\n", &[]).unwrap_err();
        assert!(twice.starts_with("two columns are called `cpu`; the header has"), "{twice}");
        assert!(twice.contains("(--column cpu=NAME"), "{twice}");
    }

    #[test]
    fn a_cell_that_is_no_number_is_named() {
        for (row, fault) in [
            ("x,2", "line 3: cpu: expected a number, found `x`"),
            ("1,", "line 3: rps: expected a number, found ``"),
            ("inf,1", "line 3: cpu: expected a number, found `inf`"),
        ] {
            assert_eq!(parsed(&format!("cpu,rps\n1,2\n{row}\n"), &[]), Err(fault.to_owned()));
        }
        assert!(parsed("cpu,rps\n1\n", &[]).unwrap_err().contains("line: 2"));
    }
}
