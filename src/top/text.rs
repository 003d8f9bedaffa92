//! Lines of text: what is shown of the figures. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use super::figures::{Core, Device, Figures, Rates, Stats};

/// The width of the column of ids; a longer one is cut.
const ID_COLUMNS: usize = 24;

/// Returns the lines.
pub(super) fn lines(figures: &Figures) -> Vec<String> {
    let Figures { stats, devices } = figures;
    let mut lines = vec![title(stats)];
    lines.extend(problems(stats));
    lines.push(String::new());
    lines.extend(summary(stats));
    lines.push(String::new());
    let names: Vec<&str> = stats.fields.iter().map(|field| field.name.as_str()).collect();
    lines.push(header(&names));
    lines.extend(devices.devices.iter().map(|device| row(device, &names)));
    let hidden = devices.total.saturating_sub(devices.devices.len() as u64);
    match (devices.total, hidden) {
        (0, _) => lines
            .push("no device is held; one with an id is listed from its next event on".to_owned()),
        (_, 0) => {}
        _ => lines.push(format!("and {hidden} more")),
    }
    // Text of the server ends up on a terminal, where some characters are commands.
    let plain = |line: String| line.chars().filter(|c| !c.is_control()).collect();
    lines.into_iter().map(plain).collect()
}

fn title(stats: &Stats) -> String {
    let Stats { instance, version, time, .. } = stats;
    let up = duration(stats.uptime_seconds);
    let all = stats.members.len();
    let answered = all.saturating_sub(stats.missing.len());
    let of = match (all, answered) {
        (0, _) => String::new(),
        (1, 1) => ", a fleet of one".to_owned(),
        _ if answered == all => format!(", for {all} replicas"),
        _ => format!(", for {answered} of {all} replicas, without {}", stats.missing.join(", ")),
    };
    format!("corepulse {version} at {instance}{of}, up {up}   {time}")
}

/// Returns the problems, or a line that says that there is none.
pub(super) fn problems(stats: &Stats) -> Vec<String> {
    if stats.problems.is_empty() {
        return vec!["all is well".to_owned()];
    }
    let problem = |problem: &super::figures::Problem| {
        let since = problem.since.as_deref().unwrap_or("an unknown time");
        let of = problem.instance.as_ref().map_or(String::new(), |name| format!("{name}: "));
        [format!("! {of}{} Since {since}.", problem.text), format!("  {}", problem.advice)]
    };
    stats.problems.iter().flat_map(problem).collect()
}

fn summary(stats: &Stats) -> Vec<String> {
    let Rates { accepted, rejected, anomalies } =
        stats.rates.get("10s").copied().unwrap_or_default();
    let (latency, totals) = (&stats.latency_seconds, &stats.totals);
    let seconds = |value: Option<f64>| value.map_or("-".to_owned(), |it| with_unit(it, "s"));
    let store = &stats.store;
    let state = if store.up { "up" } else { "away" };
    let bytes = |value: Option<u64>| value.map_or("-".to_owned(), mebibytes);
    let mut lines = vec![
        format!(
            "events       {}/s accepted   {}/s rejected   {}/s anomalies",
            short(accepted),
            short(rejected),
            short(anomalies)
        ),
        format!(
            "in total     {} accepted   {} rejected   {} anomalies",
            totals.accepted, totals.rejected, totals.anomalies
        ),
        format!(
            "latency      p50 {}   p99 {}   p99.9 {}   of {} requests in the last minute",
            seconds(latency.p50),
            seconds(latency.p99),
            seconds(latency.p999),
            latency.count
        ),
        format!("cores busy   {}", busy(&stats.cores)),
        format!(
            "connections  {} of {}   devices {} of {}   memory {} of {}",
            stats.connections.open,
            stats.connections.max,
            stats.devices.held,
            stats.devices.max,
            bytes(stats.memory.resident_bytes),
            bytes(stats.memory.limit_bytes)
        ),
        format!(
            "store        {} {state}   {} pending   queue {:.0} % full",
            store.kind,
            store.pending,
            store.queue_share * 100.0
        ),
    ];
    let number = |value: Option<f64>| value.map_or("-".to_owned(), short);
    lines.extend(stats.fields.iter().map(|field| {
        format!(
            "{:<12} {}   mean {} ± {}   z {}",
            field.name,
            number(field.last),
            number(field.rolling_average),
            number(field.stddev),
            number(field.z_score)
        )
    }));
    lines
}

/// Returns how busy the cores are, those of a fleet behind the names of their replicas.
fn busy(cores: &[Core]) -> String {
    let mut parts = Vec::new();
    let mut named = None;
    for core in cores {
        if core.instance.as_deref() != named {
            named = core.instance.as_deref();
            parts.extend(named.map(str::to_owned));
        }
        parts.push(format!("{:.0} %", core.busy * 100.0));
    }
    parts.join("   ")
}

fn header(names: &[&str]) -> String {
    let mut line =
        format!("{:<ID_COLUMNS$} {:>8} {:>8}  {:<12}", "DEVICE", "Z", "POINTS", "LAST SEEN");
    for name in names {
        // Writing into memory cannot fail.
        let _ = write!(line, " {:>20}", format!("{name} (mean)"));
    }
    line
}

fn row(device: &Device, names: &[&str]) -> String {
    let id = shortened(&device.id);
    let z = device.z.map_or("-".to_owned(), short);
    let mark = if device.anomalous { "!" } else { " " };
    // The time of day: "2026-11-29T06:26:47.784Z".
    let time = device.last_seen.get(11..23).unwrap_or(&device.last_seen);
    let mut line = format!("{id:<ID_COLUMNS$} {z:>7}{mark} {:>8}  {time:<12}", device.points);
    for name in names {
        let value = device.fields.get(*name);
        let number = |value: Option<f64>| value.map_or("-".to_owned(), short);
        let cell = value.map_or_else(String::new, |field| {
            format!("{} ({})", number(field.last), number(field.rolling_average))
        });
        let _ = write!(line, " {cell:>20}");
    }
    line
}

/// Returns an id as it fits into its column. One that is cut says so: it is no id that could be
/// asked for, and may be that of several devices.
fn shortened(id: &str) -> Cow<'_, str> {
    match id.char_indices().nth(ID_COLUMNS) {
        None => Cow::Borrowed(id),
        Some(_) => Cow::Owned(id.chars().take(ID_COLUMNS - 1).chain(['…']).collect()),
    }
}

/// Returns a number with three significant digits.
fn short(value: f64) -> String {
    with_unit(value, "")
}

/// Returns a number with three significant digits and a unit, whose prefix keeps it between 1 and
/// 1000.
fn with_unit(value: f64, unit: &str) -> String {
    const PREFIXES: [(f64, &str); 7] =
        [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ")];
    if !value.is_finite() {
        return "-".to_owned();
    }
    if value.abs() < 1e-9 {
        return if unit.is_empty() { "0".to_owned() } else { format!("0 {unit}") };
    }
    // Rounded first, or 999.9 would be 1000.
    let digits = 2 - value.abs().log10().floor() as i32;
    let rounded = format!("{value:.*e}", 2).parse().unwrap_or(value);
    let has_prefix = !unit.is_empty() || rounded.abs() >= 1e3;
    let found = PREFIXES.iter().find(|(factor, _)| rounded.abs() >= *factor);
    let (factor, prefix) = found.filter(|_| has_prefix).copied().unwrap_or((1.0, ""));
    let scaled = rounded / factor;
    let decimals = if has_prefix { 2 - scaled.abs().log10().floor() as i32 } else { digits };
    let number = format!("{scaled:.*}", usize::try_from(decimals).unwrap_or(0));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        number
    };
    match (prefix, unit) {
        ("", "") => number,
        (prefix, "") => format!("{number}{prefix}"),
        (prefix, unit) => format!("{number} {prefix}{unit}"),
    }
}

fn mebibytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1024.0 {
        format!("{mebibytes:.0} MiB")
    } else {
        format!("{:.1} GiB", mebibytes / 1024.0)
    }
}

fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::json;

    /// The figures of a server with one device and Redis away.
    pub(in crate::top) fn figures() -> Figures {
        let stats = r#"{"time":"2026-11-29T06:26:49.229Z","instance":"vm\u001b[2J",
            "version":"0.1.0","uptime_seconds":4449.25,
            "fields":[{"name":"cpu","rolling_average":48.3158,"stddev":200.745,"last":900,
                "z_score":1101.04}],
            "rates":{"10s":{"accepted":12345.678,"rejected":0.0,"anomalies":0.25}},
            "totals":{"accepted":123456,"rejected":7,"anomalies":12},
            "latency_seconds":{"count":60000,"p50":0.000041,"p99":0.00123,"p99.9":null},
            "cores":[{"busy":0.25},{"busy":0.031}],
            "connections":{"open":12,"max":10000},"devices":{"held":1000,"max":100000},
            "store":{"kind":"redis","up":false,"pending":8123,"queue_share":0.015},
            "memory":{"resident_bytes":51234816,"limit_bytes":17179869184},
            "problems":[{"since":"2026-11-29T06:20:01.000Z","text":"Redis is away.",
                "advice":"Start Redis."}]}"#;
        let devices = r#"{"devices":[{"id":"d1","last_seen":"2026-11-29T06:26:47.784Z",
            "anomalous":true,"points":1,"z":1101.04,
            "fields":{"cpu":{"last":900,"rolling_average":48.3158}}}],"total":1000}"#;
        Figures {
            stats: json::read(stats.as_bytes()).unwrap(),
            devices: json::read(devices.as_bytes()).unwrap(),
        }
    }

    #[test]
    fn figures_become_lines() {
        let expected = "\
corepulse 0.1.0 at vm[2J, up 1h 14m   2026-11-29T06:26:49.229Z
! Redis is away. Since 2026-11-29T06:20:01.000Z.
  Start Redis.

events       12.3k/s accepted   0/s rejected   0.25/s anomalies
in total     123456 accepted   7 rejected   12 anomalies
latency      p50 41 µs   p99 1.23 ms   p99.9 -   of 60000 requests in the last minute
cores busy   25 %   3 %
connections  12 of 10000   devices 1000 of 100000   memory 49 MiB of 16.0 GiB
store        redis away   8123 pending   queue 2 % full
cpu          900   mean 48.3 ± 201   z 1.1k

DEVICE                          Z   POINTS  LAST SEEN              cpu (mean)
d1                          1.1k!        1  06:26:47.784           900 (48.3)
and 999 more";
        assert_eq!(lines(&figures()).join("\n"), expected);
    }

    #[test]
    fn an_id_that_is_cut_says_so() {
        let mut long = figures();
        for (id, column) in [
            ("d".repeat(ID_COLUMNS), "d".repeat(ID_COLUMNS)),
            ("d".repeat(ID_COLUMNS + 1), "d".repeat(ID_COLUMNS - 1) + "…"),
        ] {
            long.devices.devices[0].id = id;
            let lines = lines(&long);
            let row = lines.iter().find(|line| line.starts_with('d')).unwrap();
            assert!(row.starts_with(&format!("{column}    1.1k! ")), "{row}");
        }
    }

    #[test]
    fn a_server_without_devices_may_have_had_events() {
        let mut none = figures();
        (none.devices.devices, none.devices.total) = (Vec::new(), 0);
        let last = "no device is held; one with an id is listed from its next event on";
        assert_eq!(lines(&none).last().unwrap(), last);
    }

    #[test]
    fn a_fleet_says_who_has_answered() {
        let mut fleet = figures();
        let json = br#"{"members":[{},{},{}],"missing":["b\u001b"]}"#;
        #[derive(serde::Deserialize)]
        struct Replicas {
            members: Vec<super::super::figures::Member>,
            missing: Vec<String>,
        }
        let replicas: Replicas = json::read(json).unwrap();
        (fleet.stats.members, fleet.stats.missing) = (replicas.members, replicas.missing);
        fleet.stats.cores.iter_mut().zip(["a", "c"]).for_each(|(core, name)| {
            core.instance = Some(name.to_owned());
        });
        fleet.stats.problems[0].instance = Some("c".to_owned());
        let lines = lines(&fleet);
        assert!(lines[0].contains("at vm[2J, for 2 of 3 replicas, without b, up 1h"), "{lines:?}");
        assert!(lines[1].starts_with("! c: Redis is away."), "{lines:?}");
        assert!(lines.contains(&"cores busy   a   25 %   c   3 %".to_owned()), "{lines:?}");
    }

    #[test]
    fn numbers_have_three_digits_and_a_prefix() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (999.4, "999"),
            (999.9, "1k"),
            (-1234.5, "-1.23k"),
            (0.001_234, "0.00123"),
            (12.345, "12.3"),
            (1e12, "1T"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(short(value), text);
        }
        for (value, text) in [(0.000_041, "41 µs"), (1.5, "1.5 s"), (0.0, "0 s"), (0.25, "250 ms")]
        {
            assert_eq!(with_unit(value, "s"), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in
            [(5.9, "5s"), (61.0, "1m 1s"), (3_700.0, "1h 1m"), (200_000.0, "2d 7h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
