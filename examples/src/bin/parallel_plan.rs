//! A plan is a graph: what is ready runs at once, locks keep steps apart, and reducers add up what steps find.

use std::sync::{Arc, atomic::AtomicU32, atomic::Ordering::SeqCst};

use agent_shell_core::{Call, Plan, Reducer, Request, Shell, Step, Template, Tool, context, from, input};
use serde_json::{Value, json};
use tokio::{sync::Barrier, task::yield_now};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Each search waits until three are at work: the turn can end only because they run at the same time.
    let three = Arc::new(Barrier::new(3));
    let search = Tool::pure("search", "Finds offers", move |city: String, _: Call| {
        let three = three.clone();
        async move {
            three.wait().await;
            Ok(json!({ "offers": city.len(), "cities": [city] }))
        }
    });
    let note = Tool::idempotent("note", "Notes something", |what: Value, _: Call| async move {
        static INSIDE: AtomicU32 = AtomicU32::new(0);
        assert_eq!(INSIDE.fetch_add(1, SeqCst), 0, "the lock lets one in at a time");
        yield_now().await;
        INSIDE.fetch_sub(1, SeqCst);
        Ok(what)
    });
    let find = |id, city| Step::tool(id, "search", input(city)).writes("offers", Reducer::Sum, "/offers");
    let find = |id, city| find(id, city).writes("cities", Reducer::Union, "/cities");
    let log = |id, of| Step::tool(id, "note", from(of, "/cities/0")).lock("notebook");
    let all = Template::object([("offers", context("offers")), ("cities", context("cities"))]);
    let sum = Step::tool("sum", "note", all).after(["a", "b", "c", "log-a", "log-b"]);
    let searches = [find("a", "/0"), find("b", "/1"), find("c", "/2")];
    let plan = Plan::builder().steps(searches).steps([log("log-a", "a"), log("log-b", "b"), sum]).build()?;
    let session = Shell::volatile().tool(search).tool(note).open().await?.session("traveller")?;
    let request = Request::plan(plan).input(json!(["Rome", "Oslo", "Trondheim"]));
    let answer = session.submit(request).await?.outcome().await?.text();
    println!("{answer}");
    assert_eq!(answer, json!({ "offers": 17, "cities": ["Oslo", "Rome", "Trondheim"] }).to_string());
    Ok(())
}
