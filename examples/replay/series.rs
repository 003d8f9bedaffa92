//! Events of devices from CSV files of `timestamp,value`: the rows of a CPU file beside those of a
//! request file.

use std::path::Path;
use std::sync::Arc;

/// One row of a series: seconds since 1970 and the value as the file spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) timestamp: i64,
    /// The value as it is written: a number that is parsed and printed again may differ.
    pub(crate) value: String,
}

/// The rows of one device, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) events: Vec<Event>,
}

/// A metric without its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The time as JSON; without it the server assigns the time of receipt.
    pub(crate) timestamp: Option<String>,
    /// The fields that it has, and their values as JSON.
    pub(crate) values: Vec<(Arc<str>, String)>,
}

/// Reads a device, which is named after the file `cpu`, with its rows beside those of `rps` as far
/// as both go.
pub(crate) fn device(cpu: &Path, rps: &[Row]) -> Result<Device, String> {
    let name = file_name(cpu);
    let id = name.ok_or_else(|| format!("{}: no name for a device", cpu.display()))?;
    let rows = read(cpu)?;
    let names: [Arc<str>; 2] = ["cpu".into(), "rps".into()];
    let events = rows.into_iter().zip(rps).map(|(row, beside)| Event {
        timestamp: Some(row.timestamp.to_string()),
        values: names.clone().into_iter().zip([row.value, beside.value.clone()]).collect(),
    });
    Ok(Device { id, events: events.collect() })
}

/// Returns the id of the device of a file.
pub(crate) fn file_name(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    Some(stem.chars().map(id_char).collect())
}

/// Replaces a character of a file name that a device id may not have.
fn id_char(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-') { c } else { '_' }
}

/// Reads every row of a file. The text of an error names the file and the line.
pub(crate) fn read(path: &Path) -> Result<Vec<Row>, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(file).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse(text: impl std::io::Read) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for record in csv::Reader::from_reader(text).into_records() {
        let record = record.map_err(|e| e.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        let (Some(time), Some(value)) = (record.get(0), record.get(1)) else {
            return Err(format!("line {line}: expected timestamp,value"));
        };
        let timestamp = seconds(time).ok_or_else(|| {
            format!("line {line}: `{time}` is no time such as 2014-02-14 14:30:00")
        })?;
        if !value.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(format!("line {line}: `{value}` is no finite number"));
        }
        rows.push(Row { timestamp, value: value.to_owned() });
    }
    Ok(rows)
}

/// Returns the seconds since 1970 of `YYYY-MM-DD HH:MM:SS` in UTC.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(' ')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let is_valid = (1..=12).contains(&month)
        && (1..=last_day).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    is_valid.then(|| ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut found = [0; 3];
    for (number, length) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        let is_plain = part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_plain)?;
    }
    parts.next().is_none().then_some(found)
}

/// Days since 1970-01-01 in the Gregorian calendar. Years start in March, so that the leap day is
/// the last of one.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    // The months from March on have 31, 30, 31, 30, 31 days, twice over: 153 in each five.
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_seconds() {
        for (text, expected) in [
            ("1970-01-01 00:00:00", 0),
            ("1969-12-31 23:59:59", -1),
            ("2000-02-29 12:00:00", 951_825_600),
            ("2014-02-14 14:30:00", 1_392_388_200),
            ("2024-12-31 23:59:59", 1_735_689_599),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2014-02-14",
            "2014-02-14T14:30:00",
            "2014-2-14 14:30:00",
            "2014-02-29 14:30:00",
            "2014-13-01 14:30:00",
            "2014-02-14 24:00:00",
            "2014-02-14 14:30:00.5",
            "2014-02-14 14:30:+1",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn an_id_has_only_what_the_server_takes() {
        let id: String = "a b/ü:C_9.-\"".chars().map(id_char).collect();
        assert_eq!(id, "a_b__:C_9.-_");
    }

    #[test]
    fn rows_keep_their_literals() {
        let rows = parse("timestamp,value\n2014-02-14 14:27:00,51.846000000000004\n".as_bytes());
        let expected = Row { timestamp: 1_392_388_020, value: "51.846000000000004".to_owned() };
        assert_eq!(rows, Ok(vec![expected]));
    }

    #[test]
    fn a_bad_row_is_named() {
        for (row, expected) in [
            ("2014-02-14,1", "line 2: `2014-02-14` is no time such as 2014-02-14 14:30:00"),
            ("2014-02-14 14:30:00,NaN", "line 2: `NaN` is no finite number"),
        ] {
            let text = format!("timestamp,value\n{row}\n");
            assert_eq!(parse(text.as_bytes()), Err(expected.to_owned()));
        }
    }

    #[test]
    fn the_series_of_the_checkout_are_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nab");
        let rps = read(&folder.join("elb_request_count_8c0756.csv")).unwrap();
        let device = device(&folder.join("ec2_cpu_utilization_825cc2.csv"), &rps).unwrap();
        assert_eq!(device.id, "ec2_cpu_utilization_825cc2");
        assert_eq!(device.events.len(), 4032);
        assert_eq!(
            device.events[0],
            Event {
                timestamp: Some("1397088240".to_owned()),
                values: vec![
                    ("cpu".into(), "91.958".to_owned()),
                    ("rps".into(), "94.0".to_owned())
                ]
            }
        );
    }
}
