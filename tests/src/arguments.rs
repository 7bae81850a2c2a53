//! The command line of the test programs: `--name value` and `--name`, nothing more. An argument that
//! nobody asked for is an error, so that a misspelt one never passes silently.

use std::fmt::Display;
use std::str::FromStr;

/// A command line that could not be understood; the message says which argument, and why.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Arguments not asked for yet.
#[derive(Debug)]
pub struct Arguments {
    left: Vec<String>,
}

impl Arguments {
    /// All arguments after the program's name.
    pub fn new(arguments: impl IntoIterator<Item = String>) -> Self {
        Self { left: arguments.into_iter().collect() }
    }

    /// Takes the first argument, if it is a word and not an option.
    pub fn word(&mut self) -> Option<String> {
        let is_word = self.left.first().is_some_and(|first| !first.starts_with("--"));
        is_word.then(|| self.left.remove(0))
    }

    /// Takes `--name`; true if it was there.
    pub fn flag(&mut self, name: &str) -> bool {
        let found = self.left.iter().position(|argument| argument == name);
        found.map(|index| self.left.remove(index)).is_some()
    }

    /// Takes `--name value`, if it is there. The same option given twice is an error at
    /// [`finish`](Self::finish), because the second stays behind.
    pub fn option<T>(&mut self, name: &str) -> Result<Option<T>, UsageError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let Some(index) = self.left.iter().position(|argument| argument == name) else { return Ok(None) };
        self.left.remove(index);
        if index == self.left.len() {
            return Err(UsageError(format!("{name} needs a value")));
        }
        let value = self.left.remove(index);
        match value.parse() {
            Ok(value) => Ok(Some(value)),
            Err(why) => Err(UsageError(format!("{name} {value}: {why}"))),
        }
    }

    /// Takes `--name value`, which must be there.
    pub fn required<T>(&mut self, name: &str) -> Result<T, UsageError>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.option(name)?.ok_or_else(|| UsageError(format!("{name} is missing")))
    }

    /// All that nobody took, for a part of the program with arguments of its own.
    pub fn left(self) -> Vec<String> {
        self.left
    }

    /// Fails if an argument is left that nobody took.
    pub fn finish(self) -> Result<(), UsageError> {
        match self.left.first() {
            None => Ok(()),
            Some(argument) => Err(UsageError(format!("{argument}: not an argument of this program"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::new(line.split_whitespace().map(String::from))
    }

    #[test]
    fn takes_words_flags_and_options() {
        let mut given = arguments("steps --loud --seed 7");
        assert_eq!(given.word().as_deref(), Some("steps"));
        assert_eq!(given.word(), None);
        assert_eq!(given.required::<u64>("--seed"), Ok(7));
        assert!(given.flag("--loud"));
        assert!(!given.flag("--loud"));
        assert_eq!(given.finish(), Ok(()));
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let message = |error: UsageError| error.to_string();
        assert_eq!(
            arguments("--sed 7").finish().map_err(message),
            Err("--sed: not an argument of this program".into())
        );
        assert_eq!(
            arguments("--seed").option::<u64>("--seed").map_err(message),
            Err("--seed needs a value".into())
        );
        assert!(arguments("--seed x").option::<u64>("--seed").is_err());
        assert!(arguments("").required::<u64>("--seed").is_err());
    }
}
