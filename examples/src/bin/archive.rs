//! Finished sessions leave the journal as files, which anybody can check without a key: one is read where it lies, comes
//! back and goes on. Those that were kept for long enough are removed wholly. A host does the two calls once a night.

use std::time::Duration;

use agent_shell_core::runtime::verify_export;
use agent_shell_core::{ErrorKind, Plan, Shell, Step};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("archive");
    std::fs::create_dir(&archive)?;
    let shell = Shell::at(folder.path().join("shell.db")).open().await?;
    let session = shell.session("customer-42")?;
    let plan = || Plan::new([Step::timer("pause", Duration::ZERO)]);
    session.submit(plan()?).dedupe("request-1").await?.outcome().await?;

    let report = shell.archive(&archive).idle_for(Duration::ZERO).await?; // ninety days, say
    let left = report.archived.first().ok_or("it is finished")?;
    let whole = verify_export(&*std::fs::read(&left.file)?, &Default::default())?;
    println!("{} session left with {} records", report.archived.len(), whole.records);
    let refused = session.submit(plan()?).await.err().ok_or("it is archived")?;
    println!("it takes nothing: {}", refused.kind() == ErrorKind::Archived);
    let read = shell.read_archive(&left.file).await?.next(100).await?;
    println!("its file can be read: {} records", read.len());

    shell.restore(&left.file).await?;
    session.submit(plan()?).await?.outcome().await?;
    println!("it came back, and went on");

    shell.archive(&archive).await?;
    let report = shell.expire(Duration::ZERO).folder(&archive).await?; // seven years, say
    println!("{} session expired, with {} files", report.expired.len(), report.expired[0].files.len());
    Ok(shell.shutdown().await?)
}
