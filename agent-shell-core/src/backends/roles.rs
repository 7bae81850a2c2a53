//! Roles: who may do what, as plain data.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ports::{Authorizer, Deed, Intention, Refusal};
use crate::words::{Actor, Tenant, UserId};

/// Says by roles who may do what: in each tenant, roles that have deeds, and members that have roles. Who is not named may
/// nothing; nor does a tenant that is not named let anybody do anything.
///
/// It is plain data, to be read from a file, say:
///
/// ```
/// use agent_shell_core::{Roles, Shell};
///
/// let roles: Roles = serde_json::from_str(r#"{ "tenants": { "default": {
///     "roles": { "clerk": ["submit", "signal"], "lead": ["approve", "deny", "resolve", "abandon"] },
///     "members": { "olga": ["clerk"], "bert": ["clerk", "lead"] },
///     "host": ["clerk"],
///     "four_eyes": true
/// } } }"#)?;
/// let builder = Shell::volatile().authorizer(roles);
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Roles {
    /// The roles and members of each tenant.
    pub tenants: BTreeMap<Tenant, TenantRoles>,
}

/// Who may do what in one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TenantRoles {
    /// What each role may do.
    pub roles: BTreeMap<String, BTreeSet<Deed>>,
    /// The roles of each named actor.
    pub members: BTreeMap<UserId, BTreeSet<String>>,
    /// The roles of [`Actor::Host`], which is the host when it names nobody.
    pub host: BTreeSet<String>,
    /// Whether nobody may approve in a turn that they submitted themselves.
    pub four_eyes: bool,
}

impl Roles {
    /// Sets the roles and members of a tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: Tenant, roles: TenantRoles) -> Self {
        self.tenants.insert(tenant, roles);
        self
    }
}

impl TenantRoles {
    /// Adds a role that may do these deeds.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>, deeds: impl IntoIterator<Item = Deed>) -> Self {
        self.roles.entry(role.into()).or_default().extend(deeds);
        self
    }

    /// Gives a named actor these roles.
    #[must_use]
    pub fn member<R: Into<String>>(mut self, id: UserId, roles: impl IntoIterator<Item = R>) -> Self {
        self.members.entry(id).or_default().extend(roles.into_iter().map(Into::into));
        self
    }

    /// Gives the host these roles, where it names nobody.
    #[must_use]
    pub fn host<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.host.extend(roles.into_iter().map(Into::into));
        self
    }

    /// Lets nobody approve in a turn that they submitted themselves. A turn of which it is not known who submitted it counts
    /// as such.
    #[must_use]
    pub fn four_eyes(mut self) -> Self {
        self.four_eyes = true;
        self
    }

    fn may(&self, actor: &Actor, deed: Deed) -> bool {
        let roles = match actor {
            Actor::Host => Some(&self.host),
            Actor::Named(id) => self.members.get(id),
            // Nobody can act in its name.
            Actor::Runtime => None,
        };
        let has = |role: &String| self.roles.get(role).is_some_and(|deeds| deeds.contains(&deed));
        roles.is_some_and(|roles| roles.iter().any(has))
    }
}

#[async_trait]
impl Authorizer for Roles {
    async fn authorize(&self, asked: &Intention) -> Result<(), Refusal> {
        let Intention { actor, deed, tenant, is_own, .. } = asked;
        let name = deed.name();
        let of_tenant = self.tenants.get(tenant);
        if !of_tenant.is_some_and(|roles| roles.may(actor, *deed)) {
            return Err(Refusal::new(format!(
                "no role that the actor has in tenant `{tenant}` may `{name}`: give it one, or let somebody else do it"
            )));
        }
        let own = || *deed == Deed::Approve && *is_own != Some(false);
        if of_tenant.is_some_and(|roles| roles.four_eyes) && own() {
            let message = "whoever submitted a turn may not approve in it: let somebody else approve";
            return Err(Refusal::new(message));
        }
        Ok(())
    }
}
