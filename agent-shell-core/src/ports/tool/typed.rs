//! Typed tools: a function from a deserialisable input to a serialisable output, erased once.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Call, DynTool, InvalidArguments, ProbeAnswer, ToolError};
use crate::data::{EffectClass, Retry, ToolContract};
use crate::words::{InvalidName, ToolName};

/// A tool, ready to be given to a shell. Its constructor says what may happen when it is called twice.
///
/// ```
/// use agent_shell_core::{Call, Tool, ToolError};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Weather { city: String }
///
/// let weather = Tool::pure("weather", "Tells the weather", |asked: Weather, _call: Call| async move {
///     Ok::<_, ToolError>(format!("sunny in {}", asked.city))
/// });
/// ```
pub struct Tool {
    name: Result<ToolName, InvalidName>,
    contract: ToolContract,
    make: Box<dyn FnOnce(ToolContract) -> Arc<dyn DynTool> + Send>,
}

impl Tool {
    /// A tool that changes nothing: it is run again at will. Its outcome may ride with the next commit
    /// ([`Limits::riding_ms`](crate::Limits::riding_ms)), so after a crash also a call that has answered may be made again.
    pub fn pure<I, O, F, R>(name: impl AsRef<str>, description: impl Into<String>, run: F) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize,
        F: Fn(I, Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, ToolError>> + Send + 'static,
    {
        Self::typed(name, description, EffectClass::Pure, run)
    }

    /// A tool whose target applies a repeated [`Call::key`] once: it is repeated under the same key.
    pub fn idempotent<I, O, F, R>(name: impl AsRef<str>, description: impl Into<String>, run: F) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize,
        F: Fn(I, Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, ToolError>> + Send + 'static,
    {
        Self::typed(name, description, EffectClass::Idempotent, run)
    }

    /// A tool whose target can be asked by `probe` whether a [`Call::key`] was applied, and which refuses a used key
    /// or a stale [`Call::epoch`]. A target that does neither needs [`Tool::irreversible`].
    pub fn probed<I, O, F, R, P, Q>(
        name: impl AsRef<str>,
        description: impl Into<String>,
        run: F,
        probe: P,
    ) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize,
        F: Fn(I, Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, ToolError>> + Send + 'static,
        P: Fn(I, Call) -> Q + Send + Sync + 'static,
        Q: Future<Output = Result<ProbeAnswer, ToolError>> + Send + 'static,
    {
        Self::erase::<I>(name, description, EffectClass::Probed, move |contract| {
            Arc::new(Typed { contract, run, probe, input: PhantomData::<fn(I)> })
        })
    }

    /// A tool whose effect can be neither repeated nor asked about: when it is not known whether it happened, the
    /// turn stops and a person decides.
    pub fn irreversible<I, O, F, R>(name: impl AsRef<str>, description: impl Into<String>, run: F) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize,
        F: Fn(I, Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, ToolError>> + Send + 'static,
    {
        Self::typed(name, description, EffectClass::Irreversible, run)
    }

    /// A tool of another kind. It declares what its own contract says, and what is said of it here.
    pub fn dynamic(tool: Arc<dyn DynTool>) -> Self {
        let contract = tool.contract().clone();
        let make = |contract| -> Arc<dyn DynTool> { Arc::new(Declared { contract, tool }) };
        Self { name: Ok(contract.name.clone()), contract, make: Box::new(make) }
    }

    fn typed<I, O, F, R>(
        name: impl AsRef<str>,
        description: impl Into<String>,
        class: EffectClass,
        run: F,
    ) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize,
        F: Fn(I, Call) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, ToolError>> + Send + 'static,
    {
        Self::erase::<I>(name, description, class, move |contract| {
            let probe = |_: I, _: Call| async { Err(ToolError::refused("only a probed tool can be asked")) };
            Arc::new(Typed { contract, run, probe, input: PhantomData::<fn(I)> })
        })
    }

    fn erase<I: JsonSchema>(
        name: impl AsRef<str>,
        description: impl Into<String>,
        class: EffectClass,
        make: impl FnOnce(ToolContract) -> Arc<dyn DynTool> + Send + 'static,
    ) -> Self {
        let name = ToolName::new(name);
        let placeholder = || ToolName::new("invalid").expect("a constant name is valid");
        let known = name.clone().unwrap_or_else(|_| placeholder());
        let contract = ToolContract::new(known, description, class, schemars::schema_for!(I).to_value());
        Self { name, contract, make: Box::new(make) }
    }

    /// Raised when the meaning of an input changes; a session that was planned with another version is not taken. 1 by
    /// default.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.contract.version = version;
        self
    }

    /// Every call waits for an approval that shows its exact arguments. A denied one fails the step with `Denied`.
    #[must_use]
    pub fn ask_first(mut self) -> Self {
        self.contract.ask_first = true;
        self
    }

    /// An approval that is not given in this time fails the step with `Expired`. By default it may be given for ever.
    #[must_use]
    pub fn approval_expires(mut self, after: Duration) -> Self {
        self.contract.approval_ms = Some(millis(after));
        self
    }

    /// Every call waits until all else in its turn has succeeded; nothing may depend on it.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.contract.held = true;
        self
    }

    /// One attempt may take so long; by default [`Limits::attempt_ms`](crate::Limits::attempt_ms), 30 s. Short is kind to
    /// operators and probes: nothing is called "not applied", and no target is asked, before this deadline and
    /// [`Limits::lateness_ms`](crate::Limits::lateness_ms) have passed.
    #[must_use]
    pub fn attempt_deadline(mut self, deadline: Duration) -> Self {
        self.contract.attempt_ms = Some(millis(deadline));
        self
    }

    /// For how long the target remembers a key, by default 24 hours. An unanswered call older than this is in doubt, not
    /// repeated.
    #[must_use]
    pub fn remembers_keys(mut self, for_: Duration) -> Self {
        self.contract.remembers_keys_ms = millis(for_);
        self
    }

    /// How failed attempts are repeated; by default as [`Retry`] says.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.contract.retry = retry;
        self
    }

    /// What a call costs at most, in billionths of a US dollar, where a budget counts money. By default nothing.
    #[must_use]
    pub fn costs_at_most(mut self, nano_usd: u64) -> Self {
        self.contract.cost_nano_usd = nano_usd;
        self
    }

    /// Its output is content from outside, which nobody vouches for: a web page, a mail, a file that somebody sent. What a
    /// model is shown of it keeps that label, so that guards know: see [`HoldUntrusted`](crate::HoldUntrusted).
    #[must_use]
    pub fn untrusted(mut self) -> Self {
        self.contract.untrusted = true;
        self
    }

    /// A call can carry data out of the host: a mail, a message, a request to an address that the arguments name.
    #[must_use]
    pub fn outbound(mut self) -> Self {
        self.contract.outbound = true;
        self
    }

    /// The tool that undoes this one: it is called when a turn fails, is cancelled or expires after a call took effect, with
    /// [`Undo`](crate::Undo) as its input, once nothing that depended on the call stands any more. It has a class and a key
    /// of its own. The shell must have it, or does not open.
    #[must_use]
    pub fn compensated_by(mut self, tool: impl AsRef<str>) -> Self {
        match ToolName::new(tool) {
            Ok(tool) => self.contract.compensation = Some(tool),
            Err(error) => self.name = Err(error),
        }
        self
    }

    /// The tool as the runtime calls it.
    ///
    /// # Errors
    /// [`InvalidName`] when its name is not valid.
    pub fn build(self) -> Result<Arc<dyn DynTool>, InvalidName> {
        self.name?;
        Ok((self.make)(self.contract))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Typed<I, F, P> {
    contract: ToolContract,
    run: F,
    probe: P,
    input: PhantomData<fn(I)>,
}

impl<I: DeserializeOwned, F, P> Typed<I, F, P> {
    fn read(input: &Value) -> Result<I, InvalidArguments> {
        I::deserialize(input).map_err(|error| InvalidArguments { reason: error.to_string() })
    }
}

#[async_trait]
impl<I, O, F, R, P, Q> DynTool for Typed<I, F, P>
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize,
    F: Fn(I, Call) -> R + Send + Sync + 'static,
    R: Future<Output = Result<O, ToolError>> + Send + 'static,
    P: Fn(I, Call) -> Q + Send + Sync + 'static,
    Q: Future<Output = Result<ProbeAnswer, ToolError>> + Send + 'static,
{
    fn contract(&self) -> &ToolContract {
        &self.contract
    }

    fn check(&self, input: &Value) -> Result<(), InvalidArguments> {
        Self::read(input).map(drop)
    }

    async fn run(&self, input: Arc<Value>, call: Call) -> Result<Value, ToolError> {
        let typed = Self::read(&input).map_err(|error| ToolError::refused(error.reason))?;
        let output = (self.run)(typed, call).await?;
        serde_json::to_value(output).map_err(|error| match self.contract.class {
            EffectClass::Pure => ToolError::refused(format!("the tool's output is not JSON: {error}")),
            // It took effect, and what it brought is lost: nobody but a person can tell.
            _ => ToolError::ambiguous(format!("it took effect, but its output is not JSON: {error}")),
        })
    }

    async fn probe(&self, input: Arc<Value>, call: Call) -> Result<ProbeAnswer, ToolError> {
        let typed = Self::read(&input).map_err(|error| ToolError::refused(error.reason))?;
        (self.probe)(typed, call).await
    }
}

/// A tool under a contract that a host has changed: the runtime asks the contract alone whether a call waits for an
/// approval, is held, or may be repeated.
struct Declared {
    contract: ToolContract,
    tool: Arc<dyn DynTool>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl DynTool for Declared {
    fn contract(&self) -> &ToolContract {
        &self.contract
    }

    fn check(&self, input: &Value) -> Result<(), InvalidArguments> {
        self.tool.check(input)
    }

    async fn run(&self, input: Arc<Value>, call: Call) -> Result<Value, ToolError> {
        self.tool.run(input, call).await
    }

    async fn probe(&self, input: Arc<Value>, call: Call) -> Result<ProbeAnswer, ToolError> {
        self.tool.probe(input, call).await
    }
}
