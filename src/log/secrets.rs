//! The keys at which AWS's APIs carry secrets.

/// A key is secret if it ends in one of these names, whatever the case. `-`, `_` and the like don't count, so that
/// `X-Amz-Security-Token` and `client_secret` end in `token` and `secret`. docs/messages.md has the same list.
const SECRETS: [&str; 30] = [
    "password",                     // IAM, RDS, Redshift, Directory Service, Cognito, Amazon MQ, Glue, and others
    "passwords",                    // ElastiCache and MemoryDB: CreateUser
    "passwd",                       // parameters of jobs and connections
    "passphrase",                   // ACM: ExportCertificate; MediaConnect
    "passwordData",                 // EC2: GetPasswordData
    "secret",           // Cognito, OIDC, Elastic Load Balancing: clientSecret; Directory Service: sharedSecret
    "secretString",     // Secrets Manager
    "secretBinary",     // Secrets Manager
    "secretHash",       // Cognito
    "secretAccessKey",  // IAM: CreateAccessKey; STS
    "secretKey",        // DMS, DataSync
    "privateKey",       // ACM: ImportCertificate; IAM: UploadServerCertificate; IoT; Lightsail
    "privateKeyBase64", // Lightsail: CreateKeyPair, DownloadDefaultKeyPair
    "privateKeyPem",    // Chime, Transfer Family
    "privateKeyPlaintext", // KMS: GenerateDataKeyPair
    "keyMaterial",      // EC2: CreateKeyPair
    "hostKey",          // Transfer Family: CreateServer
    "hostKeyBody",      // Transfer Family: ImportHostKey
    "token",            // STS, sign-in, SSO, Cognito, ECR, CodeArtifact, presigned URLs
    "assertion",        // STS: AssumeRoleWithSAML; SSO: CreateTokenWithIAM
    "SAMLResponse",     // sign-in
    "deviceCode",       // SSO: CreateToken
    "authorization",    // headers of API Gateway and EventBridge
    "signature",        // presigned URLs
    "apiKeyValue",      // EventBridge: CreateConnection
    "preSharedKey",     // EC2: CreateVpnConnection, ModifyVpnTunnelOptions
    "customerGatewayConfiguration", // EC2: CreateVpnConnection, whose answer has the pre-shared keys
    "authKey",          // Direct Connect: CreateBGPPeer
    "base32StringSeed", // IAM: CreateVirtualMFADevice
    "userData",         // EC2: RunInstances, launch templates; Lightsail
];

/// Names that end so too, and have no secret.
const NO_SECRETS: [&str; 5] = [
    "clientToken", // makes a request idempotent, as do the next two
    "clientRequestToken", "idempotencyToken", "getSigninToken",   // the outcome of that event: `Success`
    "masterUserSecret", // the ARN and the state of a secret
];

/// Keys of an environment's variables: an object of names and values, or a list of objects with `name` and `value`.
const VARIABLES: [&str; 5] = [
    "environmentVariables",         // CodeBuild, Amplify, App Runner, Synthetics
    "environmentVariablesOverride", // CodeBuild: StartBuild
    "environmentOverride",          // GameLift
    "optionSettings",               // Elastic Beanstalk
    "propertyMap",                  // Managed Service for Apache Flink
];

/// Keys of an environment: its variables, or an object that has them besides what is listed below.
const ENVIRONMENTS: [&str; 2] = [
    "environment", // ECS, Batch, SageMaker, Lightsail; Lambda and CodeBuild
    "env",         // Batch on EKS
];

/// Where Lambda's environment has its variables.
const VARIABLES_OF_ENVIRONMENT: &str = "variables";

/// What an environment says beside its variables, and is not secret.
const ENVIRONMENT_FACTS: [&str; 6] = ["arn", "name", "type", "image", "computeType", "imagePullCredentialsType"];

/// What a value is, by the keys that lead to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// Nothing special.
    Plain,
    /// A secret, the whole of it.
    Secret,
    /// The environment of a program.
    Environment,
    /// The variables of an environment: all values of an object are secret.
    Variables,
    /// A list of variables, or an object with a secret name: what stands at `value` is secret, and a text in the list.
    Pairs,
}

impl Place {
    /// The place of the value at a key of an object that stands at this place.
    pub(super) fn at(self, key: &str) -> Place {
        let key = key.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_one_of = |names: &[&str]| names.iter().any(|name| is(key, name));
        let ends_in = |names: &[&str]| names.iter().any(|name| ends_with(key, name));
        match self {
            _ if is_secret(key) => Place::Secret,
            Place::Secret | Place::Variables => Place::Secret,
            Place::Environment if is(key, VARIABLES_OF_ENVIRONMENT) || ends_in(&VARIABLES) => Place::Variables,
            Place::Environment if !is_one_of(&ENVIRONMENT_FACTS) => Place::Secret,
            Place::Pairs if ends_with(key, "value") => Place::Secret,
            Place::Plain | Place::Pairs if is_one_of(&ENVIRONMENTS) => Place::Environment,
            Place::Plain | Place::Pairs if ends_in(&VARIABLES) => Place::Variables,
            Place::Plain | Place::Pairs | Place::Environment => Place::Plain,
        }
    }

    /// The place of what a bracket encloses.
    pub(super) fn inside(self, bracket: u8) -> Place {
        match self {
            Place::Environment | Place::Variables if bracket == b'[' => Place::Pairs,
            _ => self,
        }
    }

    /// Whether a number or a text at this place is secret.
    pub(super) fn hides_scalars(self) -> bool {
        matches!(self, Place::Secret | Place::Pairs)
    }
}

/// Whether the value at a key must not be shown. The key ends in a letter or a digit.
pub(super) fn is_secret(key: &str) -> bool {
    SECRETS.iter().any(|name| ends_with(key, name)) && !NO_SECRETS.iter().any(|name| ends_with(key, name))
}

/// Whether a key has the name of what the object has at `value`, as in lists of headers and parameters.
pub(super) fn is_key_of_name(key: &str) -> bool {
    ends_with(key, "name") || ends_with(key, "key")
}

fn ends_with(key: &str, name: &str) -> bool {
    let last = |text: &str| text.as_bytes().last().map(u8::to_ascii_lowercase);
    // Nearly all keys differ in the last letter.
    if last(key) != last(name) {
        return false;
    }
    let mut letters = letters_from_the_end(key);
    name.bytes().rev().all(|b| letters.next() == Some(b.to_ascii_lowercase()))
}

fn is(key: &str, name: &str) -> bool {
    letters_from_the_end(key).eq(name.bytes().rev().map(|b| b.to_ascii_lowercase()))
}

/// The letters and digits of a key, in lower case, the last one first. The end of a key of any length is enough.
fn letters_from_the_end(key: &str) -> impl Iterator<Item = u8> {
    let end = key.bytes().rev().take(200);
    end.filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
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
        ] {
            assert!(is_secret(key), "{key}");
        }
        for key in [
            "accessKeyId", "tokenId", "passwordLastUsed", "passwordResetRequired", "secretId", "secretArn", "keyId",
            "X-Amz-Credential", "httpTokens", "clientToken", "masterUserSecret", "GetSigninToken", "passwordPolicy",
            "tokenType", "authorizationType", "",
        ] {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn the_manual_lists_all_names() {
        let manual = include_str!("../../docs/messages.md");
        let listed = |name: &&&str| manual.contains(&format!("`{name}`"));
        let names = [&SECRETS as &[&str], &NO_SECRETS, &VARIABLES, &ENVIRONMENTS, &ENVIRONMENT_FACTS].concat();
        let missing: Vec<_> = names.iter().filter(|name| !listed(name)).collect();
        assert!(missing.is_empty(), "docs/messages.md does not name {missing:?}");
    }
}
