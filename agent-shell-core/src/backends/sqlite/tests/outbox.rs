//! What a trim of the outbox looks at.

use rusqlite::Connection;

use super::{opened, run};
use crate::ports::{Outbox, OutboxPosition};
use crate::words::Timestamp;

/// Adds rows that were written then.
fn add(connection: &mut Connection, rows: u64, written: i64) {
    let transaction = connection.transaction().expect("a transaction begins");
    let mut last: i64 = transaction
        .query_row("SELECT coalesce(max(sequence), 0) FROM outbox", (), |row| row.get(0))
        .expect("the outbox can be read");
    for _ in 0..rows {
        last += 1;
        let id = u128::try_from(last).unwrap_or(0).to_be_bytes();
        let row = (last, id, written);
        transaction
            .prepare_cached(
                "INSERT INTO outbox (session, sequence, id, topic, written, envelope) VALUES (1, ?1, ?2, 't', ?3, x'00')",
            )
            .and_then(|mut insert| insert.execute(row))
            .expect("a row can be added");
    }
    transaction.commit().expect("the rows are committed");
}

#[test]
fn a_trim_looks_at_so_many_rows_and_no_more() {
    run(async {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("shell.db");
        let store = opened(&path).await;
        let mut connection = Connection::open(&path).expect("the file opens");
        let trim = |before| store.trim(Timestamp::from_millis(before));
        // Old rows go, however many there are.
        add(&mut connection, 5000, 10);
        store.acknowledge(OutboxPosition(5000)).await.expect("rows are acknowledged");
        assert_eq!(trim(20).await, Ok(5000));
        // A few that were written by a clock that was ahead do not keep others.
        add(&mut connection, 900, 30);
        add(&mut connection, 3000, 10);
        store.acknowledge(OutboxPosition(8900)).await.expect("rows are acknowledged");
        assert_eq!(trim(20).await, Ok(3000));
        // So many young ones are the end of what is looked at.
        add(&mut connection, 1100, 30);
        add(&mut connection, 1, 10);
        store.acknowledge(OutboxPosition(10_001)).await.expect("rows are acknowledged");
        assert_eq!(trim(20).await, Ok(0), "the 2,000 rows in front of it are young");
        assert_eq!(trim(31).await, Ok(2001), "all go when their time has come");
    });
}
