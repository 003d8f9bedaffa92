// Copyright 2019 TiKV Project Authors. Licensed under Apache-2.0.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use spin::RwLock;

use crate::frames::{Frames, UnresolvedFrames};
use crate::profiler::Profiler;
use crate::protos;
use crate::timer::ReportTiming;
use crate::{Error, Result};

const SAMPLES: &str = "samples";
const COUNT: &str = "count";
const CPU: &str = "cpu";
const NANOSECONDS: &str = "nanoseconds";
const THREAD: &str = "thread";

/// The final presentation of a report which is actually an `HashMap` from `Frames` to isize (count).
pub struct Report {
    /// Key is a backtrace captured by profiler and value is count of it.
    pub data: HashMap<Frames, isize>,

    /// Collection frequency, start time, duration.
    pub timing: ReportTiming,
}

/// The presentation of an unsymbolicated report which is actually an `HashMap` from `UnresolvedFrames` to isize (count).
pub struct UnresolvedReport {
    /// key is a backtrace captured by profiler and value is count of it.
    pub data: HashMap<UnresolvedFrames, isize>,

    /// Collection frequency, start time, duration.
    pub timing: ReportTiming,
}

/// A builder of `UnresolvedReport`. It builds a report from a running `Profiler`.
pub struct ReportBuilder<'a> {
    profiler: &'a RwLock<Profiler>,
    timing: ReportTiming,
}

impl<'a> ReportBuilder<'a> {
    pub(crate) fn new(profiler: &'a RwLock<Profiler>, timing: ReportTiming) -> Self {
        Self { profiler, timing }
    }

    /// Build an `UnresolvedReport`
    pub fn build_unresolved(&self) -> Result<UnresolvedReport> {
        let mut data = HashMap::new();
        let profiler = self.profiler.read();
        let taken = profiler.data.as_ref().ok_or(Error::NotRunning)?;
        for entry in taken.try_iter()? {
            *data.entry(entry.item.clone()).or_insert(0) += entry.count;
        }
        Ok(UnresolvedReport { data, timing: self.timing.clone() })
    }
}

impl Report {
    /// `pprof` will generate google's pprof format report.
    pub fn pprof(&self) -> Result<protos::Profile> {
        let mut dedup_str = HashSet::new();
        for key in self.data.keys() {
            dedup_str.insert(key.thread_name_or_id());
            for frame in key.frames.iter() {
                for symbol in frame {
                    dedup_str.insert(symbol.name());
                    dedup_str.insert(symbol.sys_name().into_owned());
                    dedup_str.insert(symbol.filename().into_owned());
                }
            }
        }
        dedup_str.insert(SAMPLES.into());
        dedup_str.insert(COUNT.into());
        dedup_str.insert(CPU.into());
        dedup_str.insert(NANOSECONDS.into());
        dedup_str.insert(THREAD.into());
        // string table's first element must be an empty string
        let mut str_tbl = vec!["".to_owned()];
        str_tbl.extend(dedup_str.into_iter());

        let mut strings = HashMap::new();
        for (index, name) in str_tbl.iter().enumerate() {
            strings.insert(name.as_str(), index);
        }

        let mut samples = vec![];
        let mut loc_tbl = vec![];
        let mut fn_tbl = vec![];
        let mut functions = HashMap::new();
        for (key, count) in self.data.iter() {
            let mut locs = vec![];
            for frame in key.frames.iter() {
                for symbol in frame {
                    let name = symbol.name();
                    if let Some(loc_idx) = functions.get(&name) {
                        locs.push(*loc_idx);
                        continue;
                    }
                    let sys_name = symbol.sys_name();
                    let filename = symbol.filename();
                    let lineno = symbol.lineno();
                    let function_id = fn_tbl.len() as u64 + 1;
                    let function = protos::Function {
                        id: function_id,
                        name: *strings.get(name.as_str()).unwrap() as i64,
                        system_name: *strings.get(sys_name.as_ref()).unwrap() as i64,
                        filename: *strings.get(filename.as_ref()).unwrap() as i64,
                        ..protos::Function::default()
                    };
                    functions.insert(name, function_id);
                    let line = protos::Line {
                        function_id,
                        line: lineno as i64,
                        ..protos::Line::default()
                    };
                    let loc = protos::Location {
                        id: function_id,
                        line: vec![line].into(),
                        ..protos::Location::default()
                    };
                    // the fn_tbl has the same length with loc_tbl
                    fn_tbl.push(function);
                    loc_tbl.push(loc);
                    // current frame locations
                    locs.push(function_id);
                }
            }
            let thread_name = protos::Label {
                key: *strings.get(THREAD).unwrap() as i64,
                str: *strings.get(&key.thread_name_or_id().as_str()).unwrap() as i64,
                ..protos::Label::default()
            };
            let sample = protos::Sample {
                location_id: locs,
                value: vec![
                    *count as i64,
                    *count as i64 * 1_000_000_000 / self.timing.frequency as i64,
                ],
                label: vec![thread_name].into(),
                ..Default::default()
            };
            samples.push(sample);
        }
        let samples_value = protos::ValueType {
            ty: *strings.get(SAMPLES).unwrap() as i64,
            unit: *strings.get(COUNT).unwrap() as i64,
            ..Default::default()
        };
        let time_value = protos::ValueType {
            ty: *strings.get(CPU).unwrap() as i64,
            unit: *strings.get(NANOSECONDS).unwrap() as i64,
            ..Default::default()
        };
        let profile = protos::Profile {
            sample_type: vec![samples_value, time_value.clone()].into(),
            sample: samples.into(),
            string_table: str_tbl.into(),
            function: fn_tbl.into(),
            location: loc_tbl.into(),
            time_nanos: self
                .timing
                .start_time
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos() as i64,
            duration_nanos: self.timing.duration.as_nanos() as i64,
            period_type: Some(time_value).into(),
            period: 1_000_000_000 / self.timing.frequency as i64,
            ..protos::Profile::default()
        };
        Ok(profile)
    }
}
