//! The keys at which AWS's APIs carry secrets.

/// A name, and where AWS's APIs use it.
type Name = (&'static str, &'static str);

/// Names at the end of keys, of three letters or more.
struct Names {
    names: &'static [Name],
    /// A bit for each three letters that end a name. Nearly all keys end in others, and each key of each alert is compared.
    ends: [u64; 512],
}

impl Names {
    const fn new(names: &'static [Name]) -> Self {
        let mut ends = [0; 512];
        let mut i = 0;
        while i < names.len() {
            if let [.., a, b, c] = names[i].0.as_bytes() {
                let end = end_of([*c, *b, *a]);
                ends[end / 64] |= 1 << (end % 64);
            }
            i += 1;
        }
        Names { names, ends }
    }

    /// Whether a key ends in one of the names.
    fn are_end_of(&self, key: &str) -> bool {
        let mut letters = letters_from_the_end(key);
        let (Some(c), Some(b), Some(a)) = (letters.next(), letters.next(), letters.next()) else { return false };
        let end = end_of([c, b, a]);
        let may_be_one = self.ends[end / 64] >> (end % 64) & 1 == 1;
        may_be_one && self.names.iter().any(|(name, _)| ends_with(key, name))
    }
}

/// A number for three letters, the same for capitals.
const fn end_of([c, b, a]: [u8; 3]) -> usize {
    (c & 31) as usize | ((b & 31) as usize) << 5 | ((a & 31) as usize) << 10
}

/// A key is secret if it ends in one of these names, whatever the case. `-`, `_` and the like don't count, so that
/// `X-Amz-Security-Token` and `client_secret` end in `token` and `secret`, and neither do digits at the end.
/// docs/messages.md has the same list.
static SECRETS: Names = Names::new(&[
    ("password", "IAM, RDS, Redshift, Directory Service, Cognito, Amazon MQ, Glue, and others"),
    ("passwords", "ElastiCache and MemoryDB: CreateUser"),
    ("passwd", "parameters of jobs and connections"),
    ("passcode", "parameters of jobs and connections"),
    ("pass", "parameters of jobs and connections"),
    ("pwd", "parameters of jobs and connections"),
    ("passphrase", "ACM: ExportCertificate; MediaConnect"),
    ("passwordData", "EC2: GetPasswordData"),
    ("secret", "Cognito, OIDC, Elastic Load Balancing: clientSecret; Directory Service: sharedSecret"),
    ("secretString", "Secrets Manager"),
    ("secretBinary", "Secrets Manager"),
    ("secretValue", "Secrets Manager"),
    ("secretValues", "Secrets Manager: BatchGetSecretValue"),
    ("clientSecrets", "parameters of connections"),
    ("secretHash", "Cognito"),
    ("secretCode", "Cognito: AssociateSoftwareToken"),
    ("secretAccessKey", "IAM: CreateAccessKey; STS"),
    ("secretKey", "DMS, DataSync"),
    ("secretToAuthenticateInitiator", "Storage Gateway: UpdateChapCredentials"),
    ("secretToAuthenticateTarget", "Storage Gateway: UpdateChapCredentials"),
    ("privateKey", "ACM: ImportCertificate; IAM: UploadServerCertificate; IoT; Lightsail"),
    ("privateKeys", "parameters of connections"),
    ("privateKeyBase64", "Lightsail: CreateKeyPair, DownloadDefaultKeyPair"),
    ("privateKeyPem", "Chime, Transfer Family"),
    ("plaintext", "KMS: GenerateDataKey, GenerateDataKeyPair (privateKeyPlaintext); Payment Cryptography"),
    ("keyMaterial", "EC2: CreateKeyPair"),
    ("hostKey", "Transfer Family: CreateServer"),
    ("hostKeyBody", "Transfer Family: ImportHostKey"),
    ("token", "STS, sign-in, SSO, Cognito, ECR, CodeArtifact, ElastiCache (authToken), presigned URLs"),
    ("tokenValue", "Systems Manager: StartSession; ECS: ExecuteCommand"),
    ("tokenCode", "STS: GetSessionToken, AssumeRole"),
    ("tokenKey", "Pinpoint: UpdateApnsChannel"),
    ("accessTokens", "parameters of connections"),
    ("refreshTokens", "parameters of connections"),
    ("assertion", "STS: AssumeRoleWithSAML; SSO: CreateTokenWithIAM"),
    ("SAMLResponse", "sign-in"),
    ("deviceCode", "SSO: CreateToken"),
    ("userCode", "SSO: StartDeviceAuthorization; Cognito: VerifySoftwareToken"),
    ("codeVerifier", "SSO: CreateToken; sign-in"),
    ("authorizationCode", "Glue: CreateConnection"),
    ("authenticationCode", "IAM: EnableMFADevice (authenticationCode1)"),
    ("MFACode", "Cognito: RespondToAuthChallenge"),
    ("confirmationCode", "Cognito: ConfirmSignUp, ConfirmForgotPassword"),
    ("authCode", "Route 53 Domains: TransferDomain"),
    ("activationCode", "Systems Manager: CreateActivation"),
    ("activationKey", "Storage Gateway: ActivateGateway"),
    ("unlockCode", "Snowball: GetJobUnlockCode"),
    ("authorization", "headers of API Gateway and EventBridge"),
    ("cookie", "headers of API Gateway"),
    ("signature", "presigned URLs"),
    ("sig", "URLs of Azure: DataSync"),
    ("apiKey", "AppSync, Bedrock AgentCore, Pinpoint, AppFlow; headers (X-Api-Key)"),
    ("apiKeyValue", "EventBridge: CreateConnection"),
    ("applicationKey", "AppFlow"),
    ("preSharedKey", "EC2: CreateVpnConnection, ModifyVpnTunnelOptions"),
    ("customerGatewayConfiguration", "EC2: CreateVpnConnection, whose answer has the pre-shared keys"),
    ("authKey", "Direct Connect: CreateBGPPeer"),
    ("cak", "Direct Connect: AssociateMacSecKey"),
    ("customerKey", "S3: keys of customers (SSE-C)"),
    ("appKey", "IoT Wireless: CreateWirelessDevice, as the next three"),
    ("nwkKey", "LoRaWAN"),
    ("appSKey", "LoRaWAN"),
    ("nwkSKey", "LoRaWAN"),
    ("kerberosKeytab", "DataSync: CreateLocationHdfs"),
    ("basicAuthCredentials", "Amplify"),
    ("platformCredential", "SNS: CreatePlatformApplication"),
    ("serviceJson", "Pinpoint: UpdateGcmChannel"),
    ("base32StringSeed", "IAM: CreateVirtualMFADevice"),
    ("qRCodePNG", "IAM: CreateVirtualMFADevice"),
    ("userData", "EC2: RunInstances, launch templates; Lightsail"),
]);

/// Names that end so too, and have no secret.
static NO_SECRETS: Names = Names::new(&[
    ("clientToken", "makes a request idempotent, as the next four do"),
    ("requestToken", "clientRequestToken of many APIs"),
    ("idempotencyToken", "SSM, ECS, and others"),
    ("idempotentToken", "AWS Batch and others"),
    ("creationToken", "EFS"),
    ("lockToken", "WAF: the version of a resource, as the next three"),
    ("changeToken", "WAF Classic"),
    ("updateToken", "Network Firewall"),
    ("syncToken", "AppConfig"),
    ("getSigninToken", "the outcome of that event: `Success`"),
    ("masterUserSecret", "RDS: the ARN and the state of a secret"),
    ("publicKeyMaterial", "EC2: ImportKeyPair"),
    ("bypass", "no pass"),
]);

/// Keys at which a text is secret, and of an object what stands at `value`.
static SECRET_VALUES: Names = Names::new(&[
    ("accessKey", "Firehose; IAM has the ID of the key there, which is shown"),
    ("streamKey", "IVS"),
    ("createApiKeyInput", "API Gateway: CreateApiKey"),
]);

/// Keys of variables: an object of names and values, or a list of objects with `name` and `value`.
static VARIABLES: Names = Names::new(&[
    ("environmentVariables", "CodeBuild, Amplify, App Runner, Synthetics"),
    ("environmentVariablesOverride", "CodeBuild: StartBuild"),
    ("environmentVars", "parameters of jobs"),
    ("envVars", "parameters of jobs"),
    ("environmentOverride", "GameLift"),
    ("containerEnvironment", "parameters of jobs"),
    ("stageVariables", "API Gateway: TestInvokeMethod"),
    ("optionSettings", "Elastic Beanstalk"),
    ("propertyMap", "Managed Service for Apache Flink"),
    ("logins", "Cognito: GetCredentialsForIdentity"),
    ("credentialsMap", "AppFlow"),
    ("customAuthenticationCredentials", "Glue: CreateConnection"),
]);

/// The same, if it is the whole key: that of Lambda's environment, and of the stages of API Gateway.
const VARIABLES_KEY: &str = "variables";

/// Keys of an environment: its variables, or an object that has them.
const ENVIRONMENTS: &[Name] =
    &[("environment", "ECS, Batch, SageMaker, Lightsail; Lambda and CodeBuild"), ("env", "Batch on EKS")];

/// An object with one of these keys, written exactly so but for the first letter, is no environment's variables. It has
/// variables, or is about something else.
const NOT_OF_VARIABLES: &[Name] = &[
    ("variables", "Lambda"),
    ("environmentVariables", "CodeBuild"),
    ("computeType", "CodeBuild"),
    ("environmentId", "Elastic Beanstalk, Cloud9, and others"),
    ("environmentArn", "Elastic Beanstalk, and others"),
];

/// Ends of the keys of what has a name. Callers choose names, so that nothing is hidden in them that looks like a secret.
const NAMES: &[&str] = &["name", "id", "arn", "key"];

/// What a value is, by the keys that lead to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Place {
    /// Nothing is redacted.
    Raw,
    /// A record.
    Record,
    /// Who called: only what stands at secret keys is secret.
    Identity,
    /// A name, or what AWS says of a call: URLs in it may have secrets.
    Name,
    /// Nothing special.
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
        let key = key.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match self {
            Place::Raw => Place::Raw,
            _ if is_secret(key) => Place::Secret,
            Place::Secret | Place::Variables => Place::Secret,
            Place::Pairs if is_value(key) => Place::Secret,
            Place::Identity => Place::Identity,
            Place::Record if key == "userIdentity" => Place::Identity,
            _ if SECRET_VALUES.are_end_of(key) => Place::Pairs,
            _ if is(key, VARIABLES_KEY) || VARIABLES.are_end_of(key) => Place::Variables,
            _ if ENVIRONMENTS.iter().any(|(name, _)| is(key, name)) => Place::Environment,
            Place::Record => Place::Name,
            _ if NAMES.iter().any(|name| ends_with(key, name)) => Place::Name,
            Place::Name | Place::Plain | Place::Environment | Place::Pairs => Place::Plain,
        }
    }

    /// The place of what a bracket encloses.
    pub(super) fn inside(self, bracket: u8) -> Place {
        match self {
            Place::Environment | Place::Variables if bracket == b'[' => Place::Pairs,
            Place::Name if bracket == b'{' => Place::Plain,
            _ => self,
        }
    }

    /// Whether a number or a text at this place is secret.
    pub(super) fn hides_scalars(self) -> bool {
        matches!(self, Place::Secret | Place::Pairs)
    }
}

/// What a member of an object says about the object's other members.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Member {
    Other,
    /// It may turn out to be secret by another member.
    Value,
    /// It names what the object has at `value`, as in lists of headers and parameters.
    Name,
    /// It says of which kind the value is.
    Kind,
    /// It says whether the value is secret.
    Flag,
}

impl Member {
    /// The member at a key of an object that stands at a place.
    pub(super) fn of(object: Place, key: &str) -> Member {
        match object {
            Place::Environment => Member::Value,
            Place::Record | Place::Name | Place::Plain => match key {
                _ if is_value(key) => Member::Value,
                _ if ["name", "key", "id", "attribute"].iter().any(|name| ends_with(key, name)) => Member::Name,
                _ if is(key, "type") || is(key, "classification") => Member::Kind,
                _ if is(key, "isValueSecret") => Member::Flag,
                _ => Member::Other,
            },
            _ => Member::Other,
        }
    }

    /// Whether a text may say that the object's values are secret.
    pub(super) fn may_tell_secret(self) -> bool {
        !matches!(self, Member::Other | Member::Value)
    }

    /// Whether the object's values are secret, because this one is that text, number or literal.
    pub(super) fn tells_secret(self, value: &str) -> bool {
        match self {
            Member::Name => is_secret(value),
            // Of Systems Manager; of EMR, whose properties are variables then.
            Member::Kind => ["SecureString", "export"].contains(&value),
            Member::Flag => value == "true",
            Member::Other | Member::Value => false,
        }
    }
}

/// Whether an object with this key is not one of variables.
pub(super) fn tells_no_variables(key: &str) -> bool {
    let same_but_for_first = |name: &&Name| {
        key.get(1..).zip(name.0.get(1..)).is_some_and(|(key, name)| key == name)
            && key.as_bytes().first().map(u8::to_ascii_lowercase) == name.0.as_bytes().first().copied()
    };
    NOT_OF_VARIABLES.iter().any(|name| same_but_for_first(&name))
}

/// Whether what a key, a header or an option names must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    let is_one = |key: &str| SECRETS.are_end_of(key) && !NO_SECRETS.are_end_of(key);
    let key = key.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
    let without_number = key.trim_end_matches(|c: char| !c.is_ascii_alphabetic());
    is_one(key) || without_number.len() < key.len() && is_one(without_number)
}

/// Whether an object has the value there of which another member says the name. `properties` are EMR's.
fn is_value(key: &str) -> bool {
    ["value", "values", "properties"].iter().any(|name| ends_with(key, name))
}

fn ends_with(key: &str, name: &str) -> bool {
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

    #[test]
    fn the_manual_lists_all_names() {
        let manual = include_str!("../../docs/messages.md");
        let lists =
            [SECRETS.names, NO_SECRETS.names, SECRET_VALUES.names, VARIABLES.names, ENVIRONMENTS, NOT_OF_VARIABLES]
                .concat();
        let missing: Vec<_> = lists.iter().filter(|(name, _)| !manual.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "docs/messages.md does not name {missing:?}");
    }
}
