//! From the errors of ports to the errors of hosts.

use crate::ports::{AppendError, ArchiveError, BusError, OwnershipError, PostError, SettleError, StoreError};
use crate::words::{Error, ErrorKind};

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::NotFound { .. } => ErrorKind::NotFound,
            StoreError::Indeterminate { .. } => ErrorKind::Indeterminate,
            StoreError::Unavailable { .. } => ErrorKind::Unavailable,
            StoreError::Corrupt { .. } => ErrorKind::Corrupt,
            StoreError::Poisoned { .. } => ErrorKind::Poisoned,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<AppendError> for Error {
    fn from(error: AppendError) -> Self {
        let kind = match error {
            AppendError::Fenced { .. } => ErrorKind::Fenced,
            AppendError::Conflict { .. } | AppendError::Corrupt { .. } => ErrorKind::Corrupt,
            AppendError::Indeterminate { .. } => ErrorKind::Indeterminate,
            AppendError::Unavailable { .. } => ErrorKind::Unavailable,
            AppendError::Poisoned { .. } => ErrorKind::Poisoned,
            AppendError::TooLarge { .. } => ErrorKind::InvalidInput,
            AppendError::Purged => ErrorKind::Purged,
            AppendError::Archived => ErrorKind::Archived,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<PostError> for Error {
    fn from(error: PostError) -> Self {
        let kind = match error {
            PostError::Mismatch => ErrorKind::Mismatch,
            PostError::Overloaded { .. } => ErrorKind::Overloaded,
            PostError::NoSession => ErrorKind::NotFound,
            PostError::Purged => ErrorKind::Purged,
            PostError::Archived => ErrorKind::Archived,
            PostError::Store(error) => return error.into(),
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        let kind = match error {
            ArchiveError::Busy(_) | ArchiveError::Changed { .. } => ErrorKind::Unavailable,
            ArchiveError::NotArchived | ArchiveError::Wrong { .. } | ArchiveError::TooLarge { .. } => {
                ErrorKind::InvalidInput
            }
            ArchiveError::NoSession => ErrorKind::NotFound,
            ArchiveError::Store(error) => return error.into(),
        };
        Self::new(kind, error.to_string())
    }
}

impl From<BusError> for Error {
    fn from(error: BusError) -> Self {
        let kind = match error {
            BusError::Full => ErrorKind::Overloaded,
            BusError::TooLarge { .. } => ErrorKind::InvalidInput,
            BusError::NoTopic { .. } => ErrorKind::NotFound,
            BusError::NotAssigned { .. } => ErrorKind::Fenced,
            BusError::Indeterminate { .. } => ErrorKind::Indeterminate,
            BusError::Unavailable { .. } => ErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SettleError> for Error {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::Fenced { .. } => Self::new(ErrorKind::Fenced, error.to_string()),
            SettleError::Store(error) => error.into(),
        }
    }
}

impl From<OwnershipError> for Error {
    fn from(error: OwnershipError) -> Self {
        match error {
            OwnershipError::NotEnlisted => Self::new(ErrorKind::Fenced, error.to_string()),
            OwnershipError::Store(error) => error.into(),
        }
    }
}
