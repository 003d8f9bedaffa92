//! The directory of `--spill`: its files, each of which one process has at a time.
//!
//! A file is locked from its creation until its process ends, and by the process that takes it up.
//! It has another name while it is written: if that is cut short, what is whole in it still counts.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;

use super::record::HEADER;
use super::record::MAGIC;

/// The ending of a file's name.
const ENDING: &str = "spill";

/// The same while it is written.
const ENDING_WRITING: &str = "spill-writing";

/// Names that are tried for a new file: another process may lock one before its creator does.
const NAMES_TRIED_MAX: u32 = 100;

/// A file of this process.
#[derive(Debug)]
pub(super) struct SpillFile {
    pub(super) path: PathBuf,
    /// The file, which is locked.
    pub(super) file: File,
}

impl SpillFile {
    /// Creates a file in a directory, with a name that comes behind those of earlier ones. The
    /// directory is made if it is not there: while a server runs it is empty, and programs that
    /// clean up remove what has been so for weeks.
    pub(super) fn create(directory: &Path, wall_us: i64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        for number in 0..NAMES_TRIED_MAX {
            let id = process::id();
            let path = directory.join(format!("{wall_us:020}-{id}-{number}.{ENDING_WRITING}"));
            let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)
            {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            if file.try_lock().is_ok() {
                return Ok(Self { path, file });
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Gives the file its name for good.
    pub(super) fn complete(&mut self) -> io::Result<()> {
        let path = self.path.with_extension(ENDING);
        fs::rename(&self.path, &path)?;
        self.path = path;
        sync_directory(&self.path)
    }

    /// Removes the file.
    pub(super) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        sync_directory(&self.path)
    }

    /// Opens a file that no other process has; `None` if one has it, or has just removed it.
    fn open(path: PathBuf) -> io::Result<Option<Self>> {
        let file = File::open(&path)?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        let named = fs::metadata(&path).ok();
        let is_same = named.is_some_and(|named| {
            file.metadata().is_ok_and(|held| (held.dev(), held.ino()) == (named.dev(), named.ino()))
        });
        Ok(is_same.then_some(Self { path, file }))
    }
}

/// Makes sure that a change of a file's name is on the disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Makes a directory if it is not there, and checks that files can be made in it.
pub(super) fn prepare(directory: &Path) -> io::Result<()> {
    SpillFile::create(directory, 0)?.remove()
}

/// Locks the files of a directory that no process has, and returns them from the oldest to the
/// newest; and the paths of those whose format is not known.
pub(super) fn take(directory: &Path) -> io::Result<(Vec<SpillFile>, Vec<PathBuf>)> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        // Anything else was not made here, and to open a pipe would wait for ever.
        if !entry.file_type()?.is_file() {
            continue;
        }
        if path.extension().is_some_and(|ending| ending == ENDING || ending == ENDING_WRITING) {
            paths.push(path);
        }
    }
    paths.sort();
    let (mut files, mut unknown) = (Vec::new(), Vec::new());
    for path in paths {
        match SpillFile::open(path) {
            Ok(Some(found)) if is_of_other_format(&found.file) => unknown.push(found.path),
            Ok(Some(found)) => files.push(found),
            Ok(None) => {}
            // Another process has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok((files, unknown))
}

/// Returns true if another version has written a file, in a format of its own.
fn is_of_other_format(file: &File) -> bool {
    let mut start = [0; HEADER.len()];
    let read = std::os::unix::fs::FileExt::read_exact_at(file, &mut start, 0);
    read.is_ok() && start.starts_with(MAGIC) && start != HEADER
}
