//! A table of medians and ranges out of measurements.

use crate::generator::{Shares, number};
use crate::limit;
use crate::measurement::{Measurement, PageLoad};
use crate::summary::Group;

const HEAD: &str = "\
| scenario | server | CPU µs/request | user | system | CPU µs/event | requests/s | generator CPU \
| resident MiB | p50 µs | p99 µs | p99.9 µs | ratio |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

const HEAD_OF_PAGES: &str = "
| beside the load | µs of the control thread | of the cores, by difference | answered after, p50 \
µs | p99 µs |
|---|---|---|---|---|
";

const HEAD_OF_SHARES: &str = "
| latency at a fixed rate | server | requests/s | of all, p99 ms | p99.9 \
| the server's, p50 ms | p99 | p99.9 | the generator's, p50 ms | p99 | p99.9 |
|---|---|---|---|---|---|---|---|---|---|---|
";

/// Returns Markdown: medians, in brackets the smallest and the largest. The ratio is that of CPU
/// per request to the first server's in the same round. Notes say who was the limit.
pub fn table(measurements: &[Measurement]) -> String {
    let groups = Group::all(measurements);
    let rows: String = groups.iter().map(row).collect();
    let further =
        [(HEAD_OF_SHARES, row_of_shares as fn(&Group) -> _), (HEAD_OF_PAGES, row_of_pages)];
    let tables = further.map(|(head, row)| {
        let rows: String = groups.iter().filter_map(row).collect();
        if rows.is_empty() { rows } else { head.to_owned() + &rows }
    });
    let notes: Vec<String> = groups.iter().filter_map(limit::note).collect();
    format!("{HEAD}{rows}{}\n{}\n", tables.concat(), notes.join("\n"))
}

fn row(group: &Group) -> String {
    let cells = [
        group.conditions.clone(),
        group.server.to_owned(),
        group.spread(|m| m.cpu_us_per_request).text(2),
        group.spread(Measurement::user_us).text(2),
        group.spread(|m| m.cpu_us_per_request - m.user_us()).text(2),
        group.spread(|m| m.cpu_us_per_event).text(3),
        group.spread(Measurement::requests_per_second).text(0),
        group.spread(|m| m.generator_share() * 100.0).text(0) + " %",
        group.spread(|m| number(m.resident_bytes) / 1024.0 / 1024.0).text(1),
        group.spread(|m| m.latency_us.p50).text(0),
        group.spread(|m| m.latency_us.p99).text(0),
        group.spread(|m| m.latency_us.p999).text(0),
        group.beside_base(|own, base| own.cpu_us_per_request / base.cpu_us_per_request).text(2),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// Returns a latency at a fixed rate, and what of it was whose.
fn row_of_shares(group: &Group) -> Option<String> {
    group.own.first()?.shares_us?;
    let ms = |value: &dyn Fn(&Shares) -> f64| {
        let of = |m: &Measurement| m.shares_us.as_ref().map_or(f64::NAN, value);
        group.spread(|m| of(m) / 1e3).text(2)
    };
    let cells = [
        group.conditions.clone(),
        group.server.to_owned(),
        group.spread(|m| m.offered_per_second.unwrap_or(f64::NAN)).text(0),
        group.spread(|m| m.latency_us.p99 / 1e3).text(2),
        group.spread(|m| m.latency_us.p999 / 1e3).text(2),
        ms(&|shares| shares.server.p50),
        ms(&|shares| shares.server.p99),
        ms(&|shares| shares.server.p999),
        ms(&|shares| shares.generator.p50),
        ms(&|shares| shares.generator.p99),
        ms(&|shares| shares.generator.p999),
    ];
    Some(format!("| {} |\n", cells.join(" | ")))
}

/// Returns what a page cost that was requested beside the load: the control thread does nothing
/// else, and the cores used more than for as many requests of the first server.
fn row_of_pages(group: &Group) -> Option<String> {
    group.own.first()?.page.as_ref()?;
    let of = |m: &Measurement, value: fn(&PageLoad) -> f64| m.page.as_ref().map_or(f64::NAN, value);
    let count = |m: &Measurement| of(m, |page| page.count.into());
    let each = |m: &Measurement| m.seconds_of("core-") / number(m.requests);
    let more = |own: &Measurement, base: &Measurement| {
        (each(own) - each(base)) * number(own.requests) * 1e6 / count(own)
    };
    let cells = [
        group.server.to_owned(),
        group.spread(|m| m.seconds_of("control") * 1e6 / count(m)).text(0),
        group.beside_base(more).text(0),
        group.spread(|m| of(m, |page| page.latency_us.p50)).text(0),
        group.spread(|m| of(m, |page| page.latency_us.p99)).text(0),
    ];
    Some(format!("| {} |\n", cells.join(" | ")))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::devices::Order;
    use crate::generator::{Drive, Latency};
    use crate::measurement::{Conditions, Store};
    use crate::scenario::Scenario;
    use testkit::usage::Usage;

    /// 1,000 requests of 1,000 events in 2 s.
    pub fn measurement(round: usize, store: Store, server: &str, cpu: f64) -> Measurement {
        let latency = Latency { p50: 10.0, p90: 15.0, p99: 20.0, p999: 30.0, max: 40.0 };
        let (requests, seconds, generator) = (1000, 2.0, 1.0);
        let drive = Drive { requests, seconds, latency, shares: None, faults: None, generator };
        let threads = [("core-0".to_owned(), cpu)].into();
        let usage = Usage { cpu, user: cpu / 4.0, resident_bytes: 3 << 20, threads };
        let conditions = Conditions { scenario: Scenario::Ndjson, order: Order::InTurn, store };
        Measurement { round, ..Measurement::of(conditions, server, &drive, &usage) }
    }

    #[test]
    fn the_table_holds_medians_and_paired_ratios_for_each_store() {
        let rounds = [(0.008, 0.016), (0.004, 0.012), (0.008, 0.008)];
        let mut all = vec![measurement(0, Store::Redis, "floor", 8.0)];
        for (round, (floor, own)) in rounds.into_iter().enumerate() {
            all.push(measurement(round, Store::Memory, "floor", floor));
            all.push(measurement(round, Store::Memory, "corepulse", own));
        }
        all.push(measurement(0, Store::Redis, "corepulse", 12.0));
        let text = table(&all);
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert!(rows[1].starts_with("| NDJSON, 1,000 events, Redis | corepulse |"), "{text}");
        assert!(rows[1].ends_with(" | 1.50 (1.50–1.50) |"), "{text}");
        assert_eq!(
            rows[3],
            "| NDJSON, 1,000 events | corepulse | 12.00 (8.00–16.00) | 3.00 (2.00–4.00) \
             | 9.00 (6.00–12.00) | 0.012 (0.008–0.016) | 500 (500–500) | 50 (50–50) % \
             | 3.0 (3.0–3.0) | 10 (10–10) | 20 (20–20) | 30 (30–30) | 2.00 (1.00–3.00) |"
        );
    }

    #[test]
    fn a_latency_at_a_fixed_rate_is_told_apart() {
        let mut own = measurement(0, Store::Memory, "corepulse", 1.0);
        own.offered_per_second = Some(500.0);
        let generator = Latency { p50: 1.0, p99: 5000.0, p999: 6000.0, ..own.latency_us };
        own.shares_us = Some(Shares { server: own.latency_us, generator });
        let text = table(&[own]);
        let row = text.lines().find(|line| line.contains("| 500 (500–500) | 0.02 (")).unwrap();
        assert!(
            row.ends_with(
                "| 0.03 (0.03–0.03) | 0.00 (0.00–0.00) | 5.00 (5.00–5.00) | 6.00 (6.00–6.00) |"
            ),
            "{row}"
        );
    }

    #[test]
    fn a_page_costs_what_the_cores_used_more() {
        let base = measurement(0, Store::Memory, "corepulse", 1.0);
        let mut own = measurement(0, Store::Memory, "beside", 1.5);
        own.page = Some(PageLoad { count: 10, latency_us: base.latency_us });
        own.cpu_seconds_of_threads.insert("control".to_owned(), 0.001);
        let text = table(&[base, own]);
        let row = "| beside | 100 (100–100) | 50000 (50000–50000) | 10 (10–10) | 20 (20–20) |";
        assert!(text.lines().any(|line| line == row), "{text}");
    }
}
