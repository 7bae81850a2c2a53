//! What a host is told when what it names can't be used.

use agent_shell_core::{ErrorKind, Shell, Subject, Tenant};

#[tokio::test]
async fn a_wrong_name_of_a_session_is_told_as_such() {
    let shell = Shell::volatile().open().await.unwrap();
    for (name, problem) in [
        ("", "is empty: give it at least one character"),
        ("a\nb", "holds a control character: remove it"),
        (&"x".repeat(257), "has 257 bytes: at most 256 are allowed"),
    ] {
        let of_a_tenant = shell.session_of(Tenant::default(), name, Subject::None);
        for refused in [shell.session(name), of_a_tenant] {
            let error = refused.expect_err("the name is wrong");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.to_string(), format!("the session's name {problem}"));
        }
    }
    shell.shutdown().await.unwrap();
}
