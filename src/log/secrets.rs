//! The keys at which AWS's APIs carry secrets.

use std::borrow::Cow;

/// Names at the end of keys, of three letters or more.
struct Names {
    texts: &'static [&'static str],
    /// For each name, the number of its last three letters.
    ends: [usize; 80],
    /// The same numbers, a bit for each.
    all_ends: [u64; 512],
}

impl Names {
    const fn new(names: &'static [&'static str]) -> Self {
        let (mut ends, mut i) = ([0; 80], 0);
        while i < names.len() {
            if let [.., a, b, c] = names[i].as_bytes() {
                ends[i] = end_of([*a, *b, *c]);
            }
            i += 1;
        }
        Names { texts: names, ends, all_ends: all_ends(&[names]) }
    }

    fn are_end_of(&self, key: &str) -> bool {
        let end = end_of_key(key);
        let mut names = self.ends.iter().zip(self.texts);
        may_be_in(&self.all_ends, end)
            && names.any(|(of_name, name)| end.is_none_or(|end| end == *of_name) && ends_with(key, name))
    }
}

/// Whether a key with that end may end in a name that is one of those.
fn may_be_in(all_ends: &[u64; 512], end: Option<usize>) -> bool {
    end.is_none_or(|end| all_ends[end / 64] >> (end % 64) & 1 == 1)
}

/// A bit for each three letters that end a name. A name of two letters may have any before them.
const fn all_ends(lists: &[&[&str]]) -> [u64; 512] {
    let (mut ends, mut list, mut i) = ([0; 512], 0, 0);
    while list < lists.len() {
        if i == lists[list].len() {
            (list, i) = (list + 1, 0);
            continue;
        }
        let name = lists[list][i].as_bytes();
        let mut before = 0;
        while before < 32 {
            let end = match name {
                [.., a, b, c] => end_of([*a, *b, *c]),
                [b, c] => end_of([before, *b, *c]),
                _ => 0,
            };
            ends[end / 64] |= 1 << (end % 64);
            before += 1;
        }
        i += 1;
    }
    ends
}

/// The number for the last three letters of a key. Nearly all keys end in three of them.
fn end_of_key(key: &str) -> Option<usize> {
    match key.as_bytes() {
        [.., a, b, c] if [a, b, c].iter().all(|letter| letter.is_ascii_alphanumeric()) => Some(end_of([*a, *b, *c])),
        _ => None,
    }
}

/// A number for three letters, the same for capitals.
const fn end_of([a, b, c]: [u8; 3]) -> usize {
    (c & 31) as usize | ((b & 31) as usize) << 5 | ((a & 31) as usize) << 10
}

/// A key is secret if it ends in one of these names, whatever the case. `-`, `_` and the like don't count, so that
/// `X-Amz-Security-Token` and `client_secret` end in `token` and `secret`, and neither do digits at the end.
/// docs/messages.md says which APIs have them.
static SECRETS: Names = Names::new(&[
    "password", "passwords", "passwd", "passcode", "pass", "pwd", "passphrase", "passwordData", "secret",
    "secretString", "secretBinary", "secretValue", "secretValues", "clientSecrets", "secretHash", "secretCode",
    "secretAccessKey", "secretKey", "secretToAuthenticateInitiator", "secretToAuthenticateTarget", "privateKey",
    "privateKeys", "privateKeyBase64", "privateKeyPem", "plaintext", "keyMaterial", "hostKey", "hostKeyBody", "token",
    "tokenValue", "tokenCode", "tokenKey", "accessTokens", "refreshTokens", "assertion", "SAMLResponse", "deviceCode",
    "userCode", "codeVerifier", "authorizationCode", "authenticationCode", "MFACode", "confirmationCode", "authCode",
    "activationCode", "activationKey", "unlockCode", "authorization", "cookie", "signature", "sig", "apiKey",
    "apiKeyValue", "applicationKey", "preSharedKey", "customerGatewayConfiguration", "authKey", "cak", "customerKey",
    "appKey", "nwkKey", "appSKey", "nwkSKey", "kerberosKeytab", "basicAuthCredentials", "platformCredential",
    "serviceJson", "base32StringSeed", "qRCodePNG", "userData",
]);

/// Names that end so too, and have no secret: most make a request idempotent, or tell the version of a resource.
static NO_SECRETS: Names = Names::new(&[
    "clientToken", "requestToken", "idempotencyToken", "idempotentToken", "creationToken", "lockToken", "changeToken",
    "updateToken", "syncToken", "getSigninToken", "masterUserSecret", "publicKeyMaterial", "bypass",
]);

/// Keys at which a text is secret, and of an object what stands at `value`. IAM has an object without `value` at `accessKey`.
static SECRET_VALUES: Names = Names::new(&["accessKey", "streamKey", "createApiKeyInput"]);

/// Keys of variables: an object of names and values, or a list of objects with `name` and `value`.
static VARIABLES: Names = Names::new(&[
    "environmentVariables", "environmentVariablesOverride", "environmentVars", "envVars", "environmentOverride",
    "containerEnvironment", "stageVariables", "optionSettings", "propertyMap", "logins", "credentialsMap",
    "customAuthenticationCredentials",
]);

/// Keys of an environment: its variables, or an object that has them.
const ENVIRONMENTS: &[&str] = &["environment", "env"];

/// An object with one of these keys, written exactly so but for the first letter, is no environment's variables. It has
/// variables, or is about something else.
const NOT_OF_VARIABLES: &[&str] =
    &["variables", "environmentVariables", "computeType", "environmentId", "environmentArn"];

/// Ends of the keys of what has a name. Callers choose names, so that nothing is hidden in them that looks like a secret.
const NAMES: &[&str] = &["name", "id", "arn", "key"];

/// Keys that say of another member of their object that it is secret.
const NAMING: &[&str] = &["name", "key", "id", "attribute"];

/// Ends of the keys of a value of which another member says the name. `properties` are EMR's.
const VALUES: &[&str] = &["value", "values", "properties"];

/// The ends of all keys that mean anything here. Nearly none do, and each key of each alert is compared.
static ALL_ENDS: [u64; 512] = all_ends(&[
    SECRETS.texts,
    SECRET_VALUES.texts,
    VARIABLES.texts,
    ENVIRONMENTS,
    NAMES,
    NAMING,
    VALUES,
    &["variables", "userIdentity", "type", "classification", "isValueSecret"],
]);

/// The ends of the keys of [`is_suspect`], and of those of [`tells_secret`].
static VALUE_ENDS: [u64; 512] = all_ends(&[VALUES]);
static TELLING_ENDS: [u64; 512] = all_ends(&[NAMING, &["type", "classification", "isValueSecret"]]);

/// Whether a key may mean anything here: digits at its end do not count.
fn may_mean(key: &str) -> bool {
    !key.is_empty() && (key.ends_with(|c: char| c.is_ascii_digit()) || may_be_in(&ALL_ENDS, end_of_key(key)))
}

/// What a value is, by the keys that lead to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Place {
    /// Nothing is redacted.
    Raw,
    Record,
    /// Who called: only what stands at secret keys is secret.
    Identity,
    /// A name, or what AWS says of a call: URLs in it may have secrets.
    Name,
    #[default]
    Plain,
    /// A secret, the whole of it.
    Secret,
    /// The environment of a program: its variables, unless one of its keys says something else.
    Environment,
    /// The variables of an environment: all values of an object are secret.
    Variables,
    /// A list of variables, or an object with a secret name: what stands at `value` is secret, and a text in the list.
    Pairs,
}

impl Place {
    /// The place of the value at a key of an object that stands at this place.
    pub(super) fn at(self, key: &str) -> Place {
        if !may_mean(key) {
            return match self {
                Place::Raw | Place::Identity => self,
                Place::Secret | Place::Variables => Place::Secret,
                Place::Record => Place::Name,
                Place::Name | Place::Plain | Place::Environment | Place::Pairs => Place::Plain,
            };
        }
        self.at_any(key)
    }

    fn at_any(self, key: &str) -> Place {
        let key = without_signs(key);
        match self {
            Place::Raw => Place::Raw,
            _ if is_secret(key) => Place::Secret,
            Place::Secret | Place::Variables => Place::Secret,
            Place::Pairs if is_value(key) => Place::Secret,
            Place::Identity => Place::Identity,
            Place::Record if key == "userIdentity" => Place::Identity,
            _ if SECRET_VALUES.are_end_of(key) => Place::Pairs,
            // As a whole key: of Lambda's environment, and of the stages of API Gateway.
            _ if is(key, "variables") || VARIABLES.are_end_of(key) => Place::Variables,
            _ if ENVIRONMENTS.iter().any(|name| is(key, name)) => Place::Environment,
            Place::Record => Place::Name,
            _ if NAMES.iter().any(|name| ends_with(key, name)) => Place::Name,
            Place::Name | Place::Plain | Place::Environment | Place::Pairs => Place::Plain,
        }
    }

    pub(super) fn inside(self, bracket: u8) -> Place {
        match self {
            Place::Environment | Place::Variables if bracket == b'[' => Place::Pairs,
            Place::Name if bracket == b'{' => Place::Plain,
            _ => self,
        }
    }

    fn is_usual(self) -> bool {
        matches!(self, Place::Record | Place::Name | Place::Plain)
    }

    pub(super) fn hides_scalars(self) -> bool {
        matches!(self, Place::Secret | Place::Pairs)
    }
}

/// Whether the value at a key may turn out to be secret by another member of its object, which stands at a place.
pub(super) fn is_suspect(object: Place, key: &str) -> bool {
    object == Place::Environment || object.is_usual() && may_be_in(&VALUE_ENDS, end_of_key(key)) && is_value(key)
}

/// Whether the values of an object are secret, because the member at this key is that text, number or literal.
pub(super) fn tells_secret<'t>(object: Place, key: &str, value: impl Fn() -> Cow<'t, str>) -> bool {
    if !object.is_usual() || key.is_empty() || !may_be_in(&TELLING_ENDS, end_of_key(key)) {
        false
    } else if NAMING.iter().any(|name| ends_with(key, name)) {
        // As in lists of headers and parameters.
        is_secret(&value())
    } else if is(key, "type") || is(key, "classification") {
        // Of Systems Manager; of EMR, whose properties are variables then.
        ["SecureString", "export"].contains(&&*value())
    } else {
        is(key, "isValueSecret") && value() == "true"
    }
}

/// Whether an object with this key is not one of variables.
pub(super) fn tells_no_variables(key: &str) -> bool {
    NOT_OF_VARIABLES.iter().any(|name| is(key, name) && key.get(1..) == name.get(1..))
}

/// Whether what a key, a header or an option names must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    let is_one = |key: &str| SECRETS.are_end_of(key) && !NO_SECRETS.are_end_of(key);
    let key = without_signs(key);
    if key.ends_with(|c: char| c.is_ascii_alphabetic()) {
        return is_one(key);
    }
    let without_number = key.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    is_one(key) || without_number.len() < key.len() && is_one(without_number)
}

/// A key without the signs at its end.
fn without_signs(key: &str) -> &str {
    if key.as_bytes().last().is_some_and(u8::is_ascii_alphanumeric) {
        return key;
    }
    key.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
}

/// Whether an object has the value there of which another member says the name.
fn is_value(key: &str) -> bool {
    VALUES.iter().any(|name| ends_with(key, name))
}

fn ends_with(key: &str, name: &str) -> bool {
    before_name(key, name).is_some()
}

fn is(key: &str, name: &str) -> bool {
    before_name(key, name).is_some_and(|before| !before.iter().any(u8::is_ascii_alphanumeric))
}

/// What stands in a key before a name that it ends in. Only letters and digits count, whatever the case, and of a key of any
/// length only its end.
fn before_name<'k>(key: &'k str, name: &str) -> Option<&'k [u8]> {
    let key = key.as_bytes();
    let mut before = &key[key.len().saturating_sub(200)..];
    for letter in name.bytes().rev() {
        let found = loop {
            let (last, rest) = before.split_last()?;
            before = rest;
            if last.is_ascii_alphanumeric() {
                break last;
            }
        };
        if !found.eq_ignore_ascii_case(&letter) {
            return None;
        }
    }
    Some(before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_secret_by_their_meaning_in_any_case() {
        for key in [
            "password",
            "Password",
            "masterUserPassword",
            "NEW_PASSWORD",
            "adminpassword",
            "SecretString",
            "client_secret",
            "X-Amz-Security-Token",
            "x-amz-signature",
            "SAMLAssertion",
            "webIdentityToken",
            "nextToken",
            "PrivateKey",
            "integration.request.header.Authorization",
            "secret access key",
            "PreSharedKey",
            "UserData",
            "password2",
            "authenticationCode1",
            "X-Api-Key",
            "dbPass",
            "--db_pwd",
            "\"token\"",
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in [
            "accessKeyId", "tokenId", "passwordLastUsed", "passwordResetRequired", "secretId", "secretArn", "keyId",
            "X-Amz-Credential", "httpTokens", "clientToken", "masterUserSecret", "GetSigninToken", "passwordPolicy",
            "tokenType", "authorizationType", "publicKey", "publicKeyMaterial", "apiKeyId", "apiKeySource",
            "secretName", "sessionTokens_", "lockToken", "bypass", "ec2SshKey", "kmsKey", "maxTokens", "12", "",
        ] {
            assert!(!is_secret(key), "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_key_that_means_nothing_is_told_by_its_end(start in "[a-zA-Z_.-]{0,3}", name in 0_usize..200, end in "[0-9_.-]{0,2}") {
            let lists = [SECRETS.texts, NO_SECRETS.texts, SECRET_VALUES.texts, VARIABLES.texts, ENVIRONMENTS, NAMES, NAMING,
                VALUES, &["variables", "userIdentity", "x", ""]].concat();
            let name = lists[name % lists.len()];
            for name in [name, &name.to_uppercase(), &name[name.len().min(1)..]] {
                let key = format!("{start}{name}{end}");
                for place in [Place::Raw, Place::Record, Place::Identity, Place::Name, Place::Plain, Place::Secret,
                    Place::Environment, Place::Variables, Place::Pairs] {
                    prop_assert_eq!(place.at(&key), place.at_any(&key), "{:?} {}", place, key);
                }
                let ends_in = |names: &Names| names.texts.iter().any(|name| ends_with(&key, name));
                prop_assert_eq!(SECRETS.are_end_of(&key), ends_in(&SECRETS), "{}", key);
                prop_assert!(may_mean(&key) || !is_value(&key) && !NAMING.iter().any(|name| ends_with(&key, name)), "{}", key);
            }
        }
    }

    #[test]
    fn the_manual_lists_all_names() {
        let manual = include_str!("../../docs/messages.md");
        let lists =
            [SECRETS.texts, NO_SECRETS.texts, SECRET_VALUES.texts, VARIABLES.texts, ENVIRONMENTS, NOT_OF_VARIABLES]
                .concat();
        let missing: Vec<_> = lists.iter().filter(|name| !manual.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "docs/messages.md does not name {missing:?}");
    }
}
