//! Tables of the user: CSV files whose header names the columns.
//!
//! The columns `cpu` and `rps`, and perhaps `timestamp` and `device_id`, may stand in any order and
//! case, and each may have another name. Further columns are not sent, and a warning names them.

use std::collections::HashMap;
use std::path::Path;

use crate::series::{Device, Event, file_name, seconds};

/// A column whose values are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Timestamp,
    DeviceId,
    Cpu,
    Rps,
}

impl Column {
    const ALL: [Self; 4] = [Self::Timestamp, Self::DeviceId, Self::Cpu, Self::Rps];

    const fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::DeviceId => "device_id",
            Self::Cpu => "cpu",
            Self::Rps => "rps",
        }
    }

    const fn is_needed(self) -> bool {
        matches!(self, Self::Cpu | Self::Rps)
    }
}

/// The name of a column in the table, such as `cpu=load`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renamed {
    column: Column,
    header: String,
}

impl std::str::FromStr for Renamed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, header) = text.split_once('=').unwrap_or((text, ""));
        let is_it = |column: &Column| column.name().eq_ignore_ascii_case(name.trim());
        let column = Column::ALL.into_iter().find(is_it);
        let names = Column::ALL.map(Column::name).join(", ");
        match column.filter(|_| !header.trim().is_empty()) {
            Some(column) => Ok(Self { column, header: header.trim().to_owned() }),
            None => Err(format!("expected COLUMN=HEADER, where COLUMN is one of {names}")),
        }
    }
}

/// The devices of a table in the order of their first rows, and the columns that are not sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) devices: Vec<Device>,
    pub(crate) ignored: Vec<String>,
}

/// Reads a file. The text of an error names the file, and the line or the columns.
pub(crate) fn read(path: &Path, renamed: &[Renamed]) -> Result<Table, String> {
    let of = |error: String| format!("{}: {error}", path.display());
    let text = std::fs::read(path).map_err(|error| of(error.to_string()))?;
    // A table without names of devices is one device.
    let name = file_name(path).ok_or_else(|| of("no name for a device".to_owned()))?;
    parse(&text, &name, renamed).map_err(of)
}

fn parse(text: &[u8], name: &str, renamed: &[Renamed]) -> Result<Table, String> {
    // Spreadsheets begin a file with a byte order mark.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter(text)).trim(csv::Trim::All).from_reader(text);
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    let places = places(&header, renamed)?;
    let ignored = (0..header.len()).filter(|at| !places.contains(&Some(*at)));
    let ignored = ignored.filter_map(|at| header.get(at)).map(str::to_owned).collect();

    let mut devices: Vec<Device> = Vec::new();
    let mut numbers = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let [timestamp, id, cpu, rps] = places.map(|place| place.and_then(|at| record.get(at)));
        let of = |column: Column, text: Option<&str>| {
            number(text.unwrap_or_default())
                .ok_or_else(|| format!("line {line}: {}: {}", column.name(), expected(text)))
        };
        let event = Event {
            timestamp: timestamp.filter(|text| !text.is_empty()).map(json_time),
            cpu: of(Column::Cpu, cpu)?,
            rps: of(Column::Rps, rps)?,
        };
        let id = id.unwrap_or(name);
        let number = *numbers.entry(id.to_owned()).or_insert(devices.len());
        if number == devices.len() {
            devices.push(Device { id: id.to_owned(), events: Vec::new() });
        }
        if let Some(device) = devices.get_mut(number) {
            device.events.push(event);
        }
    }
    Ok(Table { devices, ignored })
}

fn expected(found: Option<&str>) -> String {
    format!("expected a number, found `{}`", found.unwrap_or_default())
}

/// Returns the delimiter of the cells: the one that is most frequent in the header.
fn delimiter(text: &[u8]) -> u8 {
    let header = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let count = |delimiter: &u8| header.iter().filter(|byte| *byte == delimiter).count();
    // If several are as frequent, this is the last of them, such as the comma.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

/// Returns the position of each column. The error names everything that is wrong, and all columns
/// of the header.
fn places(
    header: &csv::StringRecord,
    renamed: &[Renamed],
) -> Result<[Option<usize>; Column::ALL.len()], String> {
    let mut faults = Vec::new();
    let places = Column::ALL.map(|column| {
        let said = renamed.iter().rev().find(|renamed| renamed.column == column);
        let wanted = said.map_or(column.name(), |said| said.header.as_str());
        let is_it = |at: &usize| header.get(*at).is_some_and(|n| n.eq_ignore_ascii_case(wanted));
        let mut found = (0..header.len()).filter(is_it);
        let place = found.next();
        if found.next().is_some() {
            faults.push(format!("two columns are called `{wanted}`"));
        } else if place.is_none() && (column.is_needed() || said.is_some()) {
            faults.push(format!("no column is called `{wanted}`"));
        }
        place
    });
    if faults.is_empty() {
        return Ok(places);
    }
    let names: Vec<_> = header.iter().map(|name| format!("`{name}`")).collect();
    let (faults, names) = (faults.join(", "), names.join(", "));
    Err(format!("{faults}; the header has {names} (--column cpu=NAME says which it is)"))
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

    fn parsed(text: &str, renamed: &[&str]) -> Result<Table, String> {
        let renamed: Vec<_> = renamed.iter().map(|said| said.parse().unwrap()).collect();
        parse(text.as_bytes(), "file", &renamed)
    }

    fn event(timestamp: Option<&str>, cpu: &str, rps: &str) -> Event {
        let timestamp = timestamp.map(str::to_owned);
        Event { timestamp, cpu: cpu.to_owned(), rps: rps.to_owned() }
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
            let Table { devices, ignored } = parsed(text, &[]).unwrap();
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
        for wrong in ["cpu", "cpu=", "mem=x", "=x"] {
            let error = wrong.parse::<Renamed>().unwrap_err();
            assert!(error.ends_with("timestamp, device_id, cpu, rps"), "{error}");
        }
    }

    #[test]
    fn a_column_that_is_missing_is_named_beside_those_that_are_there() {
        let says = "; the header has `time`, `load` (--column cpu=NAME says which it is)";
        for (renamed, faults) in [
            (&[][..], "no column is called `cpu`, no column is called `rps`"),
            (&["cpu=load"], "no column is called `rps`"),
            (&["cpu=load", "rps=hits"], "no column is called `hits`"),
            (&["cpu=load", "rps=load", "device_id=host"], "no column is called `host`"),
        ] {
            assert_eq!(parsed("time,load\n1,2\n", renamed), Err(format!("{faults}{says}")));
        }
        let twice = parsed("cpu,rps,CPU\n1,2,3\n", &[]).unwrap_err();
        assert!(twice.starts_with("two columns are called `cpu`; the header has"), "{twice}");
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
