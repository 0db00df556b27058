"""`make calls`: writes the calls that `check` knows, with their parameters, from botocore's models of AWS's APIs.

A line has the name of an event and, where CloudTrail's spelling of them is known, the keys of its `requestParameters`
by source: `CreateUser iam=path,userName *`. The star stands for other sources that have an event of that name.
"""

import gzip
import json
import re
from collections import defaultdict
from pathlib import Path

import botocore

FILE = Path(__file__).resolve().parents[1] / "src/rules/calls.txt.gz"

# Events of sources whose parameters are spelled as the models say. Where they are not, as in Security Hub or Cost
# Explorer, or the models don't tell, a key is never said to be wrong.
SOURCES = set(
    """autoscaling cloudformation cloudtrail config dynamodb ec2 ecr ecs eks elasticfilesystem elasticloadbalancing
    events guardduty iam kms lambda logs organizations rds s3 secretsmanager sns sqs ssm sso sts""".split()
)
# The sources of two services that the models call otherwise.
RENAMED = {"api.ecr": "ecr", "s3-control": "s3"}

# Rules rarely look into the parameters of these.
READS = ("Batch", "Describe", "List", "Search")
# EC2 writes those of many calls within a key such as CreateFlowLogsRequest, and not those of these.
EC2 = """
AcceptVpcPeeringConnection AllocateAddress AssociateAddress AssociateRouteTable AttachInternetGateway AttachVolume
AuthorizeSecurityGroupEgress AuthorizeSecurityGroupIngress CopyImage CopySnapshot CreateImage CreateInternetGateway
CreateKeyPair CreateNetworkAcl CreateNetworkAclEntry CreateNetworkInterface CreateRoute CreateRouteTable
CreateSecurityGroup CreateSnapshot CreateSubnet CreateTags CreateVolume CreateVpc CreateVpcPeeringConnection
DeleteInternetGateway DeleteKeyPair DeleteNetworkAcl DeleteNetworkAclEntry DeleteRoute DeleteRouteTable
DeleteSecurityGroup DeleteSnapshot DeleteSubnet DeleteTags DeleteVolume DeleteVpc DeleteVpcPeeringConnection
DeregisterImage DetachInternetGateway DetachVolume DisassociateAddress GetConsoleOutput GetPasswordData ImportKeyPair
ModifyImageAttribute ModifyInstanceAttribute ModifySnapshotAttribute RebootInstances ReleaseAddress
ReplaceNetworkAclEntry ReplaceRoute RevokeSecurityGroupEgress RevokeSecurityGroupIngress RunInstances StartInstances
StopInstances TerminateInstances
"""

# Parameters that the models don't have, or under another name. Any call of the source may have them.
PARAMETERS = {
    "ec2": """aclProtocol attributeType availabilityZone bundlesSet deleteOnTermination denyAllIgwTraffic filterSet
        force groupSet imagesSet instancesSet keySet networkInterfaceSet ownersSet regionSet reportVolumeFailure
        resourcesSet sharedUsersSet tagSet tagSpecificationSet tenancy zone""",
    "eks": "name",
    "lambda": "fullyQualifiedArn",
    "s3": "Host accelerate bucketName bucketPolicy key list-type publicAccessBlock x-id",
    "ssm": "interactive",
}
# They are `bucketName`, `key` and `bucketPolicy`.
UNUSED_IN_S3 = {"Bucket", "Key", "Policy"}

# Events that no operation in the models is called after: of signing in, of the console's own APIs, of agents, of
# services by themselves, of APIs that have been retired, and operations under another name.
EVENTS = """
AcknowledgeMessage ActivateEC2Remote AddMemberToGroup ApproveCommand AssociateDirectory AssociateProfile Authenticate
AuthorizeApplication AuthorizeOAuth2Access BackupDeleted BackupJobCompleted BackupJobStarted BidEvictedEvent
BidFulfilledEvent CancelSecretVersionDelete CheckMfa CompleteVirtualMfaDeviceRegistration
CompleteWebAuthnDeviceRegistration Confirm_GET Confirm_POST ConsoleLogin CreateAccountResult
CreateApplicationInstance CreateApplicationInstanceCertificate CreateBearerToken CreateControlChannel
CreateDataChannel CreateEnvironmentSSH CreateEnvironmentToken CreateExternalIdPConfigurationForDirectory
CreateManagedAccount CreateManagedApplicationInstance CreateOAuth2Token CreateOrganizationResult CreateProfile
CreateProvisioningTenant CreateServiceLinkedChannel CreateTrust CredentialChallenge CredentialVerification
DeleteAccountPublicAccessBlock DeleteAnalyticsConfiguration DeleteApplicationInstance
DeleteApplicationInstanceCertificate DeleteBearerToken DeleteBucketPublicAccessBlock DeleteExpiredKeyMaterial
DeleteExternalIdPCertificate DeleteExternalIdPConfigurationForDirectory DeleteIntelligentTieringConfiguration
DeleteInventoryConfiguration DeleteKey DeleteMessage DeleteMetricsConfiguration DeleteMfaDeviceForUser
DeletePermissionsPolicy DeleteProfile DeleteProvisioningTenant DeleteServiceLinkedChannel DeregisterManagedAccount
DeregisterOrganizationalUnit DescribeCheckItems DescribeDirectories DescribeDirectory DescribePermissionsPolicies
DescribeRecommendationGroups DescribeRegisteredRegions DescribeTrusts DisableExternalIdPConfigurationForDirectory
DisableGuardrail DisableUser DisassociateDirectory DisassociateProfile EmailUpdated
EnableExternalIdPConfigurationForDirectory EnableGuardrail EnableUser EndSecretVersionDelete ExcludeCheckItems
ExitRole ExternalIdPDirectoryLogin FailMessage Federate ForgotPassword_GET ForgotPassword_POST
GetAccelerateConfiguration GetAccountPublicAccessBlock GetAnalyticsConfiguration GetApplicationInstance
GetAWSSPConfigurationForDirectory GetBucketObjectLockConfiguration GetBucketPublicAccessBlock GetEndpoint
GetEnvironmentStatus GetFileDownloadUrls GetFileUploadUrls GetIntelligentTieringConfiguration
GetInventoryConfiguration GetListingView GetManifest GetMessages GetMetricsConfiguration
GetMfaDeviceManagementForDirectory GetPermissionsPolicy GetServiceLinkedChannel GetSharedSsoConfiguration
GetSigninToken GetSsoConfiguration GetSSOStatus GetStorageLensDashboardDataInternal GitPull GitPush
ImportApplicationInstanceServiceProviderMetadata ImportExternalIdPCertificate IncludeCheckItems
InitiateMultipartUpload InvokeExecution IsMemberInGroup JoinDomain ListApplicationInstances
ListDirectoryAssociations ListExternalIdPConfigurationsForDirectory ListInstanceAssociations ListMembersInGroup
ListMfaDevicesForUser ListProfileAssociations ListProfilesForApplication ListServiceLinkedChannels Login_GET
Login_POST Logout_GET MFAEnabled OAuth2Response_GET OAuth2Response_POST OAuth2_Authorize_GET OpenControlChannel
OpenDataChannel PasswordRecoveryCompleted PasswordRecoveryRequested PasswordUpdated PolicyExecutionEvent Poll
PostObject PrecheckOrganizationalUnit PutAccelerateConfiguration PutAccountPublicAccessBlock
PutAnalyticsConfiguration PutBucketObjectLockConfiguration PutBucketPublicAccessBlock PutConfigurePackageResult
PutCredentials PutFoundationModelEntitlement PutIntelligentTieringConfiguration PutInventoryConfiguration
PutMetricsConfiguration PutMfaDeviceManagementForDirectory PutPermissionsPolicy RecoveryPointDeleted RedeemCode
RegisterManagedInstance RegisterOrganizationalUnit RegisterRegion RemoveMemberFromGroup RenewRole
RequestManagedInstanceRoleToken ResetPassword_GET ResetPassword_POST RestoreCompleted RestoreJobCompleted
RestoreJobStarted RestoreStarted RotateKey RotationAbandoned RotationFailed RotationStarted RotationSucceeded
SAML2Response_POST SendHeartBeat SendReply SetAdditionalContacts SetContactAddress SetIAMAccessPreference
SetSecurityQuestions SetupLandingZone SharedSnapshotCopyInitiated SharedSnapshotVolumeCreated Signup_GET Signup_POST
StartEnvironment StartSecretVersionDelete StartSSO StartTelemetrySession StartVirtualMfaDeviceRegistration
StartWebAuthnDeviceRegistration StopEnvironment SwitchRole SynchronizeMultiRegionKey TestRotationFailed
TestRotationStarted TestRotationSucceeded Token_POST Unsubscribe UpdateApplicationInstanceActiveCertificate
UpdateExternalIdPConfigurationForDirectory UpdateGroupDisplayName UpdateInstanceAssociationStatus
UpdateInstanceInformation UpdateManagedAccount UpdateMfaDeviceForUser UpdatePassword UpdatePaymentInstrument
UpdateProfile UpdateServiceLinkedChannel UpdateSsoConfiguration UpdateUserName UserAuthentication UserInfo_GET
VerifyEmail
"""
# Sources that write the version of their API behind the names of these events.
VERSIONED = {
    "lambda 20150331": """AddPermission CreateAlias CreateEventSourceMapping CreateFunction DeleteAlias
        DeleteEventSourceMapping DeleteFunction GetAlias GetEventSourceMapping GetFunction GetFunctionConfiguration
        GetPolicy ListAliases ListEventSourceMappings ListFunctions ListVersionsByFunction PublishVersion
        RemovePermission UpdateAlias UpdateEventSourceMapping UpdateFunctionCode UpdateFunctionConfiguration""",
    "cloudfront 2020_05_31": """CreateCachePolicy CreateCloudFrontOriginAccessIdentity CreateDistribution
        CreateDistributionWithTags CreateFunction CreateInvalidation DeleteDistribution PublishFunction
        UpdateDistribution""",
}


def small(name):
    """A name as CloudTrail writes most parameters: `DBInstanceIdentifier` as `dBInstanceIdentifier`."""
    return name[:1].lower() + name[1:]


def models():
    for path in sorted((Path(botocore.__file__).parent / "data").glob("*/*/service-2.json.gz")):
        yield json.loads(gzip.decompress(path.read_bytes()))


def parameters(operation, shapes, source):
    """The keys that CloudTrail may write for the parameters of an operation."""
    members = shapes[operation["input"]["shape"]].get("members", {}) if "input" in operation else {}
    found = set(PARAMETERS.get(source, "").split())
    if source == "s3":
        # The keys are those of the query, as in `PUT /bucket?publicAccessBlock`, and the names of headers and elements.
        query = operation["http"]["requestUri"].partition("?")[2].split("&")
        found |= {key.partition("=")[0] for key in query if key}
        return found | {member.get("locationName", name) for name, member in members.items()} - UNUSED_IN_S3
    for name, member in members.items():
        names = {small(name), small(member.get("locationName", name))}
        found |= names
        if source == "ec2" and shapes[member["shape"]]["type"] == "list":
            # A list is a set there, in one of several forms: Tags is `tagSet`, InstanceIds is `instancesSet`.
            roots = {re.sub("(Id)?s?$", "", name) for name in names}
            found |= {root + end for root in roots for end in ("Set", "sSet", "IdSet", "IdsSet")}
    return found


def calls():
    """The text of the file."""
    events = defaultdict(lambda: defaultdict(set))
    for name in EVENTS.split():
        events[name].clear()
    for model in models():
        prefix = model["metadata"]["endpointPrefix"]
        source = RENAMED.get(prefix, prefix)
        for name, operation in model["operations"].items():
            events[name][source] |= parameters(operation, model["shapes"], source)
    for (source, version), names in ((key.split(), names.split()) for key, names in VERSIONED.items()):
        for name in names:
            events[name + version][source] = events[name][source]
    return "".join(f"{line(name, sources)}\n" for name, sources in sorted(events.items()))


def line(name, sources):
    """The line of an event, with the keys that each source gives it, by source."""
    known = SOURCES & set(sources)
    if not known or name.startswith(READS) or "ec2" in known and name not in EC2.split():
        return name
    keys = [f"{source}={','.join(sorted(sources[source]))}" for source in sorted(known)]
    return " ".join([name, *keys, *["*"] * (len(known) < len(sources))])


if __name__ == "__main__":
    FILE.write_bytes(gzip.compress(calls().encode(), 9, mtime=0))
