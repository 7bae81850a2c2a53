//! The ledger of one file under several handles, as several processes have it.

use std::sync::Arc;

use futures::future::join_all;

use super::{opened, run};
use crate::conformance::{Writer, digest_of, tenant, unique};
use crate::data::{Account, AccountKind, Amounts, AttemptId, Ceiling, KeyId};
use crate::ports::{
    Append, ClaimFilter, Journal, Ledger, NewSession, Ownership, Reserve, ReserveError, Settlement, Store,
    TurnMark,
};
use crate::words::{StepId, Timestamp};

const ROUNDS: u64 = 20;

#[test]
fn handles_share_a_ceiling() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("shell.db");
    run(async {
        let account = Account { kind: AccountKind::Tenant, id: digest_of("tenant") };
        let ceiling = Ceiling { nano_usd: Some(ROUNDS * 30), ..Ceiling::NONE };
        let mut handles = Vec::new();
        for _ in 0..3 {
            handles.push(Arc::new(opened(&path).await));
        }
        let spends = handles.iter().map(|handle| async move {
            let id = unique();
            let new = NewSession {
                id,
                tenant: tenant("default"),
                name: digest_of(id.to_bytes()),
                sealed: Vec::new(),
                key: KeyId(digest_of("key")),
                created: Timestamp::from_millis(1),
            };
            handle.open_session(new).await.unwrap();
            let (owner, turn) = (unique(), unique());
            handle.enlist(owner, std::time::Duration::from_secs(60)).await.unwrap();
            let filter = ClaimFilter { sessions: Some(vec![id]), ..ClaimFilter::default() };
            let claims = handle.claim(owner, filter, 1).await.unwrap();
            let mut writer = Writer::of(&claims[0].entry, owner);
            let append = writer.append(["starts"]);
            let turns = vec![TurnMark::Started(turn, append.records[0].header.seq)];
            writer.write(&Store::new(handle.clone()), Append { turns, ..append }).await;
            let (mut taken, mut refused) = (0, 0);
            for round in 0..ROUNDS {
                let step = StepId::new(format!("{round}")).unwrap();
                let attempt = AttemptId { session: id, turn, step, epoch: writer.fence.epoch, attempt: 1 };
                let amounts = Amounts { nano_usd: 20, ..Amounts::ZERO };
                let accounts = vec![(account, ceiling)];
                let ask = Reserve { attempt: attempt.clone(), fence: writer.fence, amounts, accounts };
                match handle.reserve(ask).await {
                    Ok(_) => {
                        taken += 1;
                        let settle = vec![Settlement { attempt, amounts }];
                        writer
                            .write(&Store::new(handle.clone()), Append { settle, ..writer.append(["one"]) })
                            .await;
                    }
                    Err(ReserveError::Exceeded { left: 0, .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(taken + refused, ROUNDS);
            taken
        });
        let taken: u64 = join_all(spends).await.into_iter().sum();
        assert_eq!(taken, ROUNDS * 30 / 20, "all of the ceiling is taken, and no more");
        for handle in &handles {
            let balance = handle.balance(account).await.unwrap().unwrap();
            assert_eq!((balance.settled.nano_usd, balance.reserved.nano_usd), (ROUNDS * 30, 0));
            let operations = handle.operations(0, 1_000).await.unwrap();
            assert!(operations.iter().map(|operation| operation.number).eq(1..=taken * 2), "{operations:?}");
        }
    });
}
