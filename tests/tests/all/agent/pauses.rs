//! How long a model is left alone that wants to be.

use std::time::Duration;

use agent_shell_core::ports::{ModelError, ModelErrorKind};
use agent_shell_core::{Reply, Scripted, Shell};

use super::super::support::limits;

#[tokio::test]
async fn a_model_that_wants_to_be_left_alone_for_a_year_is_asked_again_before_that() {
    let year = Duration::from_secs(365 * 86_400);
    let busy = || Reply::from(ModelError::new(ModelErrorKind::RateLimited, "come back").retry_after(year));
    let model = Scripted::new([busy(), Reply::text("yes")]);
    let mut short = limits();
    short.model_pause_ms = 100;
    let shell = Shell::volatile().limits(short).model(model.clone()).open().await.unwrap();
    let turn = shell.session("ada").unwrap().submit("hi").await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(20), turn.outcome()).await;
    assert_eq!(outcome.expect("the turn goes on").unwrap().text(), "yes");
    assert_eq!(model.asked(), 2);
    shell.shutdown().await.unwrap();
}
