//! What this process has loaded: unwinding tables for the signal handler, and names.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use addr2line::Loader;
use framehop::{Module, ModuleSectionInfo};
use memmap2::Mmap;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};

use crate::frames::Symbol;

/// The program, also when its file was replaced or removed.
const PROGRAM: &str = "/proc/self/exe";

const PAGE: u64 = 4096;

/// Where distributions put what they strip from their files, by build id.
const DEBUG_FILES: &str = "/usr/lib/debug/.build-id";

/// A file that is mapped.
struct Loaded {
    name: String,
    /// Where it can be read.
    path: PathBuf,
    avma: Range<u64>,
}

/// The mapped files, from the listing of all mappings.
fn loaded() -> Vec<Loaded> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let program = fs::read_link(PROGRAM).ok();
    let mut found: Vec<Loaded> = Vec::new();
    for line in maps.lines() {
        // `5581e0000000-5581e0012000 r--p 00000000 fe:00 1234    /usr/bin/program (deleted)`
        let Some(place) = line.find('/') else { continue };
        let name = &line[place..];
        let mut words = line.split_ascii_whitespace();
        let (Some(range), offset) = (words.next(), words.nth(1)) else { continue };
        let Some((start, end)) = range.split_once('-') else { continue };
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let (Some(start), Some(end)) = (hex(start), hex(end)) else { continue };
        match found.last_mut() {
            Some(last) if last.name == name => last.avma.end = end,
            _ if offset.and_then(hex) == Some(0) => {
                let is_program = program.as_deref() == Some(Path::new(name));
                let path = PathBuf::from(if is_program { PROGRAM } else { name });
                found.push(Loaded { name: name.to_owned(), path, avma: start..end });
            }
            _ => {}
        }
    }
    found
}

/// By how much addresses in memory are larger than those in the file.
fn bias(object: &object::File<'_>, avma: &Range<u64>) -> u64 {
    let first = object.segments().map(|segment| segment.address()).min().unwrap_or(0);
    avma.start.wrapping_sub(first / PAGE * PAGE)
}

fn debug_file(build_id: &[u8]) -> Option<PathBuf> {
    let hex: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let (folder, file) = (hex.get(..2)?, hex.get(2..)?);
    let path = Path::new(DEBUG_FILES).join(folder).join(format!("{file}.debug"));
    path.exists().then_some(path)
}

fn open_mmap(path: &Path) -> Option<Mmap> {
    let file = File::open(path).ok()?;
    unsafe { Mmap::map(&file) }.ok()
}

struct Sections<'a>(object::File<'a>);

impl<'a, D: From<&'a [u8]>> ModuleSectionInfo<D> for Sections<'a> {
    fn base_svma(&self) -> u64 {
        self.0.relative_address_base()
    }

    fn section_svma_range(&mut self, name: &[u8]) -> Option<Range<u64>> {
        let section = self.0.section_by_name_bytes(name)?;
        let start = section.address();
        Some(start..start + section.size())
    }

    fn section_data(&mut self, name: &[u8]) -> Option<D> {
        let section = self.0.section_by_name_bytes(name)?;
        Some(D::from(section.data().ok()?))
    }
}

/// The unwinding tables of all that is loaded.
pub fn modules() -> Vec<Module<Vec<u8>>> {
    let module = |loaded: Loaded| {
        let mmap = open_mmap(&loaded.path)?;
        let object = object::File::parse(&*mmap).ok()?;
        let bias = bias(&object, &loaded.avma);
        Some(Module::new(loaded.name, loaded.avma, bias, Sections(object)))
    };
    loaded().into_iter().filter_map(module).collect()
}

/// Looks names up; what it has read of files for that is let go with it.
pub struct Names {
    objects: Vec<(Loaded, OnceCell<Option<Opened>>)>,
    known: RefCell<HashMap<usize, Vec<Symbol>>>,
}

struct Opened {
    loader: Loader,
    bias: u64,
    /// What a stripped library still tells: addresses of its interface, with names, in order.
    exported: Vec<(Range<u64>, Vec<u8>)>,
}

impl Names {
    /// Of all that is loaded now.
    pub fn new() -> Self {
        let objects = loaded().into_iter().map(|loaded| (loaded, OnceCell::new())).collect();
        Self { objects, known: RefCell::default() }
    }

    /// The functions that an address lies in: those that were inlined before the one that they were
    /// inlined into. Without a name there is still the file.
    pub fn resolve(&self, ip: usize) -> Vec<Symbol> {
        self.known.borrow_mut().entry(ip).or_insert_with(|| self.look_up(ip as u64)).clone()
    }

    fn look_up(&self, ip: u64) -> Vec<Symbol> {
        let Some((loaded, opened)) = self.objects.iter().find(|(it, _)| it.avma.contains(&ip))
        else {
            return Vec::new();
        };
        let opened = opened.get_or_init(|| Opened::open(loaded));
        let mut symbols = opened.as_ref().map(|opened| opened.resolve(ip)).unwrap_or_default();
        if symbols.is_empty() {
            let file = loaded.name.rsplit('/').next().unwrap_or(&loaded.name);
            symbols.push(Symbol::new(format!("[{file}]").into_bytes(), ip, None, None));
        }
        symbols
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::new()
    }
}

impl Opened {
    fn open(loaded: &Loaded) -> Option<Self> {
        let mmap = open_mmap(&loaded.path)?;
        let object = object::File::parse(&*mmap).ok()?;
        let bias = bias(&object, &loaded.avma);
        let stripped = object.build_id().ok().flatten().and_then(debug_file);
        let loader = stripped.and_then(|path| Loader::new(path).ok());
        let loader = loader.or_else(|| Loader::new(&loaded.path).ok())?;
        let is_code = |symbol: &object::Symbol<'_, '_>| {
            symbol.is_definition() && symbol.kind() == object::SymbolKind::Text
        };
        let named = |symbol: object::Symbol<'_, '_>| {
            let (start, size) = (symbol.address(), symbol.size());
            Some((start..start.checked_add(size)?, symbol.name_bytes().ok()?.to_vec()))
        };
        let mut exported: Vec<_> =
            object.dynamic_symbols().filter(is_code).filter_map(named).collect();
        exported.sort_by_key(|(range, _)| range.start);
        Some(Self { loader, bias, exported })
    }

    /// The name of the function in machine code.
    fn symbol(&self, svma: u64) -> Option<Vec<u8>> {
        if let Some(name) = self.loader.find_symbol(svma) {
            return Some(name.as_bytes().to_vec());
        }
        let after = self.exported.partition_point(|(range, _)| range.start <= svma);
        let (range, name) = self.exported.get(after.checked_sub(1)?)?;
        range.contains(&svma).then(|| name.clone())
    }

    fn resolve(&self, ip: u64) -> Vec<Symbol> {
        let svma = ip.wrapping_sub(self.bias);
        let outermost = || self.symbol(svma);
        let mut symbols = Vec::new();
        let Ok(mut frames) = self.loader.find_frames(svma) else {
            return symbols;
        };
        while let Ok(Some(frame)) = frames.next() {
            let function = frame.function.as_ref();
            let name = function.and_then(|function| function.raw_name().ok());
            let Some(name) = name.map(|name| name.as_bytes().to_vec()).or_else(outermost) else {
                continue;
            };
            let location = frame.location.as_ref();
            let file = location.and_then(|location| location.file).map(PathBuf::from);
            symbols.push(Symbol::new(name, ip, location.and_then(|it| it.line), file));
        }
        // The symbols of a library have no more than a name.
        if symbols.is_empty() {
            symbols.extend(outermost().map(|name| Symbol::new(name, ip, None, None)));
        }
        symbols
    }
}
