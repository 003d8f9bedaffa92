//! The memory that the options in each manifest allow the server, added up: the memory limit of the
//! deployment has to cover it, whatever clients send, or the kernel ends the server under attack.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use corepulse::config::Config;
use corepulse::config::arguments::Arguments;
use corepulse::limits::{
    ACK_ANSWER_BYTES_MAX, ACK_EVENTS_MAX, ACK_WAITERS_MAX, BATCH_EVENTS_MAX, DEVICE_ID_BYTES_MAX,
    FLEET_REPLY_BYTES_MAX, HEAD_BYTES_MAX, KERNEL_BYTES_PER_CONNECTION, OUT_BYTES_MAX,
    POOL_BYTES_MAX, RECEIVE_BYTES, WAITING_EVENT_BYTES, WAITING_EVENTS_MAX, WINDOW_JUMP_BYTES,
    WINDOW_VALUE_BYTES,
};
use corepulse::resources::{device_bytes, limit_bytes};
use yaml_rust2::{Yaml, YamlLoader};

const MIB: usize = 1024 * 1024;

/// A server without requests so far: 12 MiB resident, rounded up for its threads' stacks.
const PROCESS_BYTES: usize = 24 * MIB;

/// The tables of names that the first profile reads and keeps, and the samples of one.
const PROFILE_BYTES: usize = 100 * MIB;

/// An open socket that holds no data: the kernel's objects for it and its place in epoll, and our
/// own record of it.
const CONNECTION_BYTES: usize = 4 * 1024;

/// The largest socket buffers of two connections, the writer's and the look-ups' or those of the
/// fleet, which the kernel sizes itself: 4 MiB to send, unless the node has other settings; the
/// answers of Redis are short.
const REDIS_KERNEL_BYTES: usize = 2 * (4 + 1) * MIB;

/// The memory that a core has for windows which a fleet shares: the anomalies that came with them
/// (1 MiB), and the events that wait for them, whose buffers grow by doubling.
fn shared_bytes(fields: usize) -> usize {
    MIB + 2 * WAITING_EVENTS_MAX * (WAITING_EVENT_BYTES + fields * WINDOW_VALUE_BYTES)
}

/// The messages of a fleet: at most one of this size is read at a time, and those who ask the same
/// share its answers. Pages of a thousand devices are the longest.
const FLEET_BYTES: usize = FLEET_REPLY_BYTES_MAX;

/// The memory of a core beside its buffers: spare ones (4 MiB at most), the log of anomalies (1
/// MiB) and that of novelties (48 KiB), histograms, and the items of a decoded batch.
const CORE_BYTES: usize = 6 * MIB;

/// The memory of a core for requests that wait until Redis has confirmed them: their answers, one
/// of them beyond the limit, and a mark for each event, with half of it again for the nodes of the
/// tree.
const ACK_BYTES: usize = ACK_ANSWER_BYTES_MAX
    + OUT_BYTES_MAX
    + ACK_WAITERS_MAX * 512
    + ((ACK_EVENTS_MAX + BATCH_EVENTS_MAX) * 3 / 2 + 4 * 1024) * 32 * 3 / 2;

/// The share of freed memory that the allocator keeps, in percent of each part.
const FRAGMENTED_PERCENT: usize = 10;

/// A deployment: the server's variables, its CPUs, and the memory that it may take.
#[derive(Debug)]
struct Deployment {
    name: String,
    variables: BTreeMap<String, String>,
    cpus: f64,
    request_bytes: usize,
    limit_bytes: usize,
    /// File systems in memory, which count as the container's.
    tmpfs_bytes: usize,
}

impl Deployment {
    /// The options as the server would read them.
    fn config(&self) -> Config {
        let flags = self.variables.iter().map(|(name, value)| {
            let flag = name.strip_prefix("COREPULSE_").expect(name);
            format!("--{}={value}", flag.to_lowercase().replace('_', "-"))
        });
        let given = Arguments::try_parse_from(["corepulse".to_owned()].into_iter().chain(flags));
        Config::check(&given.expect(&self.name)).expect(&self.name)
    }

    /// Returns the largest size of each part.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "CPUs are a small positive number, and a worker is a whole one"
    )]
    fn parts(&self) -> Vec<(&'static str, usize)> {
        let config = self.config();
        let workers = config.workers.unwrap_or(self.cpus as usize).max(1);
        let connections = config.connections_max.expect("--max-connections is a number");
        let body_bytes = config.body_bytes_max;
        let lent_bytes = POOL_BYTES_MAX.max(4 * (body_bytes + HEAD_BYTES_MAX));
        let buffer_bytes = RECEIVE_BYTES + OUT_BYTES_MAX + 2 * body_bytes;
        let required = config.fields.iter().filter(|field| field.is_required).count();
        let optional = config.fields.len() - required;
        let windows = optional + usize::from(required > 0);
        let device_bytes = device_bytes(config.window, required, optional)
            + limit_bytes(&config)
            + windows * config.window * WINDOW_JUMP_BYTES
            + DEVICE_ID_BYTES_MAX;
        let (is_redis, is_fleet) = (config.redis_url.is_some(), config.fleet.is_some());
        let shared = shared_bytes(config.fields.len());
        let store_bytes =
            if is_redis { config.store_queue_bytes } else { config.memory_store_bytes };
        vec![
            ("the process", PROCESS_BYTES),
            ("cores", workers * (CORE_BYTES + buffer_bytes)),
            ("half requests and unsent answers", workers * lent_bytes),
            ("connections in the kernel", connections * KERNEL_BYTES_PER_CONNECTION),
            ("connections themselves", connections * CONNECTION_BYTES),
            ("devices with full windows", config.devices_max * device_bytes),
            ("the store or its queue", store_bytes),
            ("requests that wait for Redis", if is_redis { workers * ACK_BYTES } else { 0 }),
            ("connections to Redis", if is_redis { REDIS_KERNEL_BYTES } else { 0 }),
            ("windows on their way", if is_fleet { workers * shared } else { 0 }),
            ("the fleet", if is_fleet { FLEET_BYTES + REDIS_KERNEL_BYTES } else { 0 }),
            ("a profile", PROFILE_BYTES),
            ("file systems in memory", self.tmpfs_bytes),
        ]
    }
}

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn document(relative: &str) -> Yaml {
    let text = fs::read_to_string(path(relative)).expect(relative);
    YamlLoader::load_from_str(&text).expect(relative).remove(0)
}

/// `1600Mi`, or `832m` as Compose has it, where letters count binary.
fn bytes(text: &str) -> usize {
    let unit = text.find(|letter: char| !letter.is_ascii_digit()).expect(text);
    let (number, unit) = text.split_at(unit);
    let factor = match unit {
        "Mi" | "m" => MIB,
        "Gi" | "g" => 1024 * MIB,
        other => panic!("unit {other}"),
    };
    number.parse::<usize>().expect(text) * factor
}

/// `2`, `1500m` or 1.5.
fn cpus(value: &Yaml) -> f64 {
    let text = value.as_str().map_or_else(|| value.as_f64().unwrap().to_string(), str::to_owned);
    text.strip_suffix('m')
        .map_or_else(|| text.parse().expect(&text), |milli| milli.parse::<f64>().unwrap() / 1000.0)
}

/// The server's container in a Deployment, or in a patch of it.
fn container(deployment: &Yaml) -> &Yaml {
    let containers = &deployment["spec"]["template"]["spec"]["containers"];
    let mut named = containers.as_vec().unwrap().iter();
    named.find(|one| one["name"].as_str() == Some("corepulse")).expect("a container of the server")
}

/// The server's variables that are no secrets; the address with the password is any.
fn add_variables(found: &mut BTreeMap<String, String>, container: &Yaml) {
    for entry in container["env"].as_vec().into_iter().flatten() {
        let name = entry["name"].as_str().unwrap();
        if let Some(value) = entry["value"].as_str().filter(|_| name.starts_with("COREPULSE_")) {
            found.insert(name.to_owned(), value.replace("$(REDIS_PASSWORD)", "secret"));
        }
    }
}

/// A number of the patch where it has one, of the base where it has not.
fn resource<'a>(containers: &[&'a Yaml], kind: &str, name: &str) -> &'a Yaml {
    let mut found = containers.iter().map(|one| &one["resources"][kind][name]);
    found.find(|value| !value.is_badvalue()).expect(name)
}

/// The Deployment of the base, or of an overlay: its patch goes first.
fn kubernetes(name: &str, patch: Option<&Yaml>) -> Deployment {
    let base = document("k8s/base/corepulse/deployment.yaml");
    let containers: Vec<&Yaml> = patch.into_iter().chain([&base]).map(container).collect();
    let mut variables = BTreeMap::new();
    for one in containers.iter().rev() {
        add_variables(&mut variables, one);
    }
    Deployment {
        name: name.to_owned(),
        variables,
        cpus: cpus(resource(&containers, "limits", "cpu")),
        request_bytes: bytes(resource(&containers, "requests", "memory").as_str().unwrap()),
        limit_bytes: bytes(resource(&containers, "limits", "memory").as_str().unwrap()),
        tmpfs_bytes: 0,
    }
}

/// Returns a value of the compose file where the shell of Compose has no variables: of
/// `${NAME:-default}` the default.
fn interpolated(value: &str) -> String {
    let default = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    default.and_then(|rest| rest.split_once(":-")).map_or(value, |(_, default)| default).to_owned()
}

fn compose() -> Deployment {
    let file = document("docker-compose.yaml");
    let service = &file["services"]["corepulse"];
    let variables = service["environment"].as_hash().unwrap().iter();
    let limit_bytes = bytes(service["mem_limit"].as_str().unwrap());
    let tmpfs = service["tmpfs"].as_vec().unwrap().iter().map(|mount| {
        let (_, size) = mount.as_str().unwrap().split_once(":size=").expect("a size for tmpfs");
        bytes(size)
    });
    Deployment {
        name: "compose".to_owned(),
        variables: variables
            .map(|(name, value)| {
                (name.as_str().unwrap().to_owned(), interpolated(value.as_str().unwrap()))
            })
            .collect(),
        cpus: cpus(&service["cpus"]),
        request_bytes: limit_bytes,
        limit_bytes,
        tmpfs_bytes: tmpfs.sum(),
    }
}

/// The base, every overlay that is there, and the compose file.
fn deployments() -> Vec<Deployment> {
    let mut found = vec![kubernetes("base", None), compose()];
    for overlay in fs::read_dir(path("k8s/overlays")).unwrap() {
        let name = overlay.unwrap().file_name().into_string().unwrap();
        let patch = document(&format!("k8s/overlays/{name}/corepulse.yaml"));
        found.push(kubernetes(&name, Some(&patch)));
    }
    found
}

#[test]
fn the_limit_of_each_deployment_covers_the_most_that_its_options_allow() {
    let found = deployments();
    assert_eq!(found.len(), 4, "{found:?}");
    for deployment in found {
        let Deployment { name, request_bytes, limit_bytes, .. } = &deployment;
        let parts = deployment.parts();
        let sum: usize = parts.iter().map(|(_, bytes)| bytes).sum();
        let most = sum * (100 + FRAGMENTED_PERCENT) / 100;
        let lines = parts.iter().map(|(part, bytes)| format!("  {:5} {part}\n", bytes / MIB));
        let table =
            format!("{name}, MiB:\n{}{:7} at most\n", lines.collect::<String>(), most / MIB);
        println!("{table}{:7} granted", limit_bytes / MIB);
        assert!(most <= *limit_bytes, "the limit is {} MiB. {table}", limit_bytes / MIB);
        // Memory that no option can use would keep other pods off the node.
        assert!(most + 128 * MIB > *limit_bytes, "{} MiB are too many. {table}", limit_bytes / MIB);
        assert_eq!(request_bytes, limit_bytes, "{name}: a shortage of the node's would be ours");
    }
}

#[test]
fn the_manual_says_what_the_base_is_granted() {
    let granted = format!("| `memory` | {} MiB |", kubernetes("base", None).limit_bytes / MIB);
    assert!(
        fs::read_to_string(path("docs/deployment.md")).unwrap().contains(&granted),
        "{granted}"
    );
}
