//! A closed loop of load: threads that send a request, wait for its response, and begin anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::http_client::HttpClient;

/// Threads that repeat a step until they are stopped.
#[derive(Debug)]
pub struct LoadLoop {
    is_stopping: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl LoadLoop {
    /// Starts a thread for each of these steps. A step sends requests, checks their responses, and
    /// returns how many they were.
    pub fn start<S>(steps: impl IntoIterator<Item = S>) -> Self
    where
        S: FnMut() -> u64 + Send + 'static,
    {
        let (is_stopping, requests) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let threads = steps.into_iter().map(|mut step| {
            let (is_stopping, requests) = (Arc::clone(&is_stopping), Arc::clone(&requests));
            thread::spawn(move || {
                while !is_stopping.load(Ordering::Relaxed) {
                    requests.fetch_add(step(), Ordering::Relaxed);
                }
            })
        });
        Self { threads: threads.collect(), is_stopping, requests }
    }

    /// Starts a thread with so many connections: each sends these requests in turn, and the next
    /// one as soon as one is answered with this status.
    pub fn repeat(
        address: SocketAddr,
        connections: usize,
        requests: Vec<Vec<u8>>,
        status: u16,
    ) -> Self {
        let mut clients: Vec<_> = (0..connections).map(|_| HttpClient::connect(address)).collect();
        let mut requests = requests.into_iter().cycle();
        let mut send = move |client: &mut HttpClient| client.send(&requests.next().unwrap());
        clients.iter_mut().for_each(&mut send);
        Self::start([move || {
            for client in &mut clients {
                let response = client.receive();
                assert_eq!(response.status, status, "{response:?}");
                send(client);
            }
            clients.len() as u64
        }])
    }

    /// Returns the number of requests that were answered so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Ends it, and returns the number of requests; panics if a response was not as expected.
    pub fn stop(mut self) -> u64 {
        self.is_stopping.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("every request was answered");
        }
        self.requests()
    }
}

impl Drop for LoadLoop {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }
}
