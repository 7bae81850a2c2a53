//! What the benchmark hears and counts, without measuring anything.

use std::time::Duration;

use super::life::{Recovered, Tally};
use super::report::{Row, table};
use super::worker::OPENED;
use crate::bench::machine::{Used, used};
use crate::bench::report::json;

fn said(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn every_session_is_to_act_once() {
    let mut tally = Tally::new(3);
    assert!(!tally.hear(&said(&[2])).unwrap());
    assert!(tally.hear(&said(&[OPENED, 0])).unwrap(), "it was said between two sessions");
    assert!(!tally.is_complete());
    let word = said(&[1]);
    tally.hear(&word[..3]).unwrap();
    assert!(!tally.is_complete(), "a word is heard when all of it has come");
    tally.hear(&word[3..]).unwrap();
    assert!(tally.is_complete());
    assert!(tally.hear(&said(&[1])).unwrap_err().to_string().contains("twice"));
    assert!(Tally::new(3).hear(&said(&[3])).unwrap_err().to_string().contains("never made"));
}

#[test]
fn a_row_holds_the_medians() {
    let round = |seconds: u64| Recovered {
        first: Duration::from_millis(seconds * 100),
        opened: Duration::from_millis(seconds * 500),
        all: Duration::from_secs(seconds),
        used: Used { cpu: Duration::from_secs(seconds), peak_bytes: seconds << 20 },
    };
    let row = Row::new(1000, &[round(3), round(1), round(2)]);
    assert_eq!(
        json(std::slice::from_ref(&row)).unwrap(),
        "{\"bench\":\"recovery\",\"system\":\"agent-shell\",\"journal\":\"sqlite\",\"sessions\":1000,\
         \"seconds\":2.0,\"first_seconds\":0.2,\"open_seconds\":1.0,\"cpu_us_per_session\":2000.0,\"rss_mib\":2.0}\n"
    );
    let table = table(&[row]);
    let last: Vec<&str> = table.lines().next_back().unwrap().split('|').map(str::trim).collect();
    let cells = [
        "",
        "1000",
        "agent-shell",
        "sqlite",
        "2.00",
        "1.00 to 3.00",
        "0.20",
        "1.00",
        "2000",
        "2000",
        "2",
        "",
    ];
    assert_eq!(last, cells);
}

#[test]
fn what_a_process_used_is_read_although_its_name_holds_blanks() {
    let stat = "7 (a b) c) S 1 7 7 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 4 0 100 1 1";
    let status = "Name:\ta\nVmPeak:\t  9000 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 1024 kB\n";
    assert_eq!(used(stat, status), Some(Used { cpu: Duration::from_secs(2), peak_bytes: 2 << 20 }));
    assert_eq!(used(stat, "Name:\ta\n"), None);
}
