//! The table of a file: rows of CSV as the server reads them.
//!
//! The header row gets the names that the server has for its columns; the cells stay as they are,
//! since the server judges them. Between them come commas, whatever was there before. A table
//! without devices gets one more column, and so does a member that is in another file.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use super::csv_file::CsvFile;
use crate::config::replay_options::Assignment;

/// The names of columns, for all tables.
pub(super) struct Columns<'a> {
    /// The names that the server takes for the device; the first one is sent.
    pub(super) device_names: &'a [String],
    /// Columns that are called otherwise in the files.
    pub(super) renamed: &'a [Assignment],
    /// Members that are in other files.
    pub(super) beside: &'a [Assignment],
}

/// A file as people are told of it.
#[derive(Clone)]
pub(super) struct Source {
    /// The file, as it was given.
    pub(super) path: String,
    /// The names in its header row.
    pub(super) names: String,
}

/// A table.
pub(super) struct Table {
    pub(super) source: Source,
    file: CsvFile<File>,
    /// The header row as it is sent.
    pub(super) header: Vec<u8>,
    cells: usize,
    device: Device,
    beside: Vec<CsvFile<File>>,
}

/// The device of a row.
enum Device {
    /// That in this column.
    InColumn(usize),
    /// The same for all rows, named after the file.
    OfFile(String),
}

/// One row of a table.
pub(super) enum Outcome {
    /// It was appended. Rows with the same hash are of the same device.
    Appended { line: u64, device_hash: u64 },
    /// It is wrong, for the reason in the text, and was not appended.
    Wrong { line: u64, reason: String },
}

impl Table {
    /// Opens a file and reads its header row. The error names the file, and what is wrong with it.
    pub(super) fn open(path: &Path, columns: &Columns<'_>) -> Result<Self, String> {
        let shown = path.display().to_string();
        let of = |error: String| format!("{shown}: {error}");
        let mut file = open(path).map_err(of)?;
        let header = file.next().map_err(of)?.ok_or_else(|| of("there is no row".to_owned()))?;
        let mut header: Vec<String> = header.cells().map(name).collect();
        let names: Vec<_> = header.iter().map(|name| format!("`{name}`")).collect();
        let names = names.join(", ");
        let cells = header.len();
        rename(&mut header, columns.renamed)
            .map_err(|error| of(format!("{error}; the header row has {names}")))?;
        let is_device = |header: &String| {
            columns.device_names.iter().any(|name| name.eq_ignore_ascii_case(header))
        };
        let device = match header.iter().position(is_device) {
            Some(at) => Device::InColumn(at),
            None => {
                header.extend(columns.device_names.first().cloned());
                Device::OfFile(id(path).ok_or_else(|| of("no name for a device".to_owned()))?)
            }
        };
        let mut beside = Vec::new();
        for Assignment { member, place } in columns.beside {
            let of = |error: String| format!("{place}: {error}");
            let mut other = open(Path::new(place)).map_err(of)?;
            // Its header row.
            other.next().map_err(of)?;
            header.push(member.clone());
            beside.push(other);
        }
        let mut row = Vec::new();
        append_row(&mut row, header.iter().map(String::as_bytes));
        let source = Source { path: shown, names };
        Ok(Self { source, file, header: row, cells, device, beside })
    }

    /// Returns the id of the device whose table this is, if it has no column of devices.
    pub(super) fn own_device(&self) -> Option<&str> {
        match &self.device {
            Device::OfFile(id) => Some(id),
            Device::InColumn(_) => None,
        }
    }

    /// Appends the next row as it is sent; `None` at the end of this file or of one beside it.
    ///
    /// # Errors
    ///
    /// A file cannot be read any further.
    pub(super) fn append_next(&mut self, out: &mut Vec<u8>) -> Result<Option<Outcome>, String> {
        let path = &self.source.path;
        let Some(row) = self.file.next().map_err(|error| format!("{path}: {error}"))? else {
            return Ok(None);
        };
        let line = row.line;
        let mut others = Vec::with_capacity(self.beside.len());
        for other in &mut self.beside {
            let found = other.next().map_err(|error| format!("beside {path}: {error}"))?;
            let Some(found) = found else {
                return Ok(None);
            };
            others.push(found.cell(found.len().saturating_sub(1)));
        }
        if row.len() != self.cells {
            let reason = format!("{} cells, where the header row has {}", row.len(), self.cells);
            return Ok(Some(Outcome::Wrong { line, reason }));
        }
        let (device, own) = match &self.device {
            Device::InColumn(at) => (row.cell(*at).trim_ascii(), None),
            Device::OfFile(id) => (id.as_bytes(), Some(id.as_bytes())),
        };
        append_row(out, row.cells().chain(own).chain(others));
        Ok(Some(Outcome::Appended { line, device_hash: hash(device) }))
    }
}

/// Returns a cell of the header row. What is not UTF-8 is read as Latin-1, as older spreadsheets
/// write it.
fn name(cell: &[u8]) -> String {
    let cell = cell.trim_ascii();
    let latin_1 = |_| cell.iter().map(|byte| char::from(*byte)).collect();
    std::str::from_utf8(cell).map_or_else(latin_1, str::to_owned)
}

fn open(path: &Path) -> Result<CsvFile<File>, String> {
    CsvFile::new(File::open(path).map_err(|error| error.to_string())?)
}

/// Gives columns the names of the members that they hold. A column that has such a name and is
/// another one loses it.
fn rename(header: &mut [String], renamed: &[Assignment]) -> Result<(), String> {
    let original = header.to_vec();
    for Assignment { member, place } in renamed {
        let is_it = |(_, name): &(usize, &String)| name.eq_ignore_ascii_case(place);
        let mut found = original.iter().enumerate().filter(is_it).map(|(at, _)| at);
        let at = found.next().ok_or_else(|| format!("no column is called `{place}`"))?;
        if found.next().is_some() {
            return Err(format!("two columns are called `{place}`"));
        }
        for name in header.iter_mut().filter(|name| name.eq_ignore_ascii_case(member)) {
            name.clear();
        }
        if let Some(name) = header.get_mut(at) {
            name.clone_from(member);
        }
    }
    Ok(())
}

/// Returns the id of the device that a file is named after.
fn id(path: &Path) -> Option<String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    let stem = path.file_stem()?.to_string_lossy();
    Some(stem.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect())
}

fn hash(device: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    device.hash(&mut hasher);
    hasher.finish()
}

fn append_row<'a>(out: &mut Vec<u8>, cells: impl Iterator<Item = &'a [u8]>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if cell.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
            out.push(b'"');
            for byte in cell {
                // RFC 4180, section 2: a quote is escaped by another one.
                out.extend(std::iter::repeat_n(*byte, 1 + usize::from(*byte == b'"')));
            }
            out.push(b'"');
        } else {
            out.extend_from_slice(cell);
        }
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(texts: &[&str]) -> Vec<Assignment> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// A folder that is removed in the end.
    struct Folder(std::path::PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Writes files, and returns what is sent of the first one.
    fn sent(
        files: &[(&str, &[u8])],
        renamed: &[&str],
        beside: &[&str],
    ) -> Result<(String, Vec<String>), String> {
        let name = format!("table-{}-{}", std::process::id(), files[0].0);
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).unwrap();
        for (name, text) in files {
            std::fs::write(folder.0.join(name), text).unwrap();
        }
        let mut beside = assigned(beside);
        for other in &mut beside {
            other.place = folder.0.join(&other.place).display().to_string();
        }
        let names = ["device_id".to_owned(), "deviceId".to_owned()];
        let columns =
            Columns { device_names: &names, renamed: &assigned(renamed), beside: &beside };
        let mut table = Table::open(&folder.0.join(files[0].0), &columns)?;
        let (mut rows, mut wrong) = (table.header.clone(), Vec::new());
        while let Some(outcome) = table.append_next(&mut rows)? {
            if let Outcome::Wrong { line, reason } = outcome {
                wrong.push(format!("{line}: {reason}"));
            }
        }
        Ok((String::from_utf8_lossy(&rows).into_owned(), wrong))
    }

    #[test]
    fn cells_stay_as_they_are_between_commas() {
        let text = b"DeviceID;time; load ;note\r\na; 1 ;1,5;\"say \"\"hi\"\"; now\"\nb;2;3;\xff\n";
        let file = ("cells.csv", &text[..]);
        let (rows, wrong) = sent(&[file], &["timestamp=TIME", "cpu=load"], &[]).unwrap();
        let expected = "DeviceID,timestamp,cpu,note\na, 1 ,\"1,5\",\"say \"\"hi\"\"; now\"\n\
            b,2,3,\u{fffd}\n";
        assert_eq!((rows.as_str(), wrong.len()), (expected, 0));
    }

    #[test]
    fn a_header_row_may_be_in_latin_1() {
        let table = ("latin.csv", &b"Ger\xe4t;cpu\nd1;1\n"[..]);
        let (rows, _) = sent(&[table], &["device_id=Ger\u{e4}t"], &[]).unwrap();
        assert_eq!(rows, "device_id,cpu\nd1,1\n");
    }

    #[test]
    fn a_table_without_devices_is_one_named_after_its_file() {
        let (rows, _) = sent(&[("a b.1.csv", b"\xef\xbb\xbfcpu\n1\n2\n")], &[], &[]).unwrap();
        assert_eq!(rows, "cpu,device_id\n1,a_b.1\n2,a_b.1\n");
    }

    #[test]
    fn a_column_that_is_renamed_takes_the_place_of_its_namesake() {
        let table = ("names.csv", &b"cpu,load,device_id\n1,2,a\n"[..]);
        let (rows, _) = sent(&[table], &["CPU=load"], &[]).unwrap();
        assert_eq!(rows, ",CPU,device_id\n1,2,a\n");
        // Two members may change their columns.
        let (rows, _) = sent(&[table], &["cpu=load", "load=cpu"], &[]).unwrap();
        assert_eq!(rows, "load,cpu,device_id\n1,2,a\n");
        let error = sent(&[table], &["cpu=x"], &[]).unwrap_err();
        let says = "no column is called `x`; the header row has `cpu`, `load`, `device_id`";
        assert!(error.ends_with(says), "{error}");
        let twice = sent(&[("twice.csv", b"a,A\n1,2\n")], &["cpu=a"], &[]).unwrap_err();
        assert!(twice.contains("two columns are called `a`"), "{twice}");
    }

    #[test]
    fn a_member_may_be_in_another_file() {
        let own = ("own.csv", &b"timestamp,cpu\n1,10\n2,20\n3\n4,40\n5,50\n"[..]);
        let other = ("other.csv", &b"timestamp,value\n1,1\n2,2\n3,3\n4,4\n"[..]);
        let (rows, wrong) = sent(&[own, other], &[], &["rps=other.csv"]).unwrap();
        let expected = "timestamp,cpu,device_id,rps\n1,10,own,1\n2,20,own,2\n4,40,own,4\n";
        assert_eq!(rows, expected);
        assert_eq!(wrong, ["4: 1 cells, where the header row has 2"]);
        let error = sent(&[own], &[], &["rps=none.csv"]).unwrap_err();
        assert!(error.contains("none.csv: No such file"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_said_with_the_file() {
        for (name, text, fault) in [
            ("empty.csv", &b""[..], "empty.csv: there is no row"),
            ("utf16.csv", b"\xff\xfea\0", "utf16.csv: this is UTF-16"),
        ] {
            let error = sent(&[(name, text)], &[], &[]).unwrap_err();
            assert!(error.contains(fault), "{error}");
        }
        let columns = Columns { device_names: &[], renamed: &[], beside: &[] };
        for (path, fault) in [("/nowhere.csv", "No such file"), ("/", "/: Is a directory")] {
            let error = Table::open(Path::new(path), &columns).err().unwrap();
            assert!(error.contains(fault), "{error}");
        }
    }
}
