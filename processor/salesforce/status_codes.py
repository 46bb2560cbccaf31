"""Salesforce's error codes by what they ask of us.

Codes come from rows (`statusCode`) and from whole requests (`errorCode`): the StatusCode and
ExceptionCode lists of the SOAP API's "Core Data Types", and the REST API's "Status Codes and Error
Responses". Messages are never looked at: Salesforce translates them to the language of the user.

    class       what is wrong                                    row               whole request
    LOCK        somebody else holds the Task or its parents      soon              soon, smaller
    HEAVY       the request was too much for the org's code      soon              soon, smaller
    AGAIN       failed because of another row or writer          soon              soon
    CODE        an org's flow, trigger or mail alert failed      in minutes        in minutes
    HELD        an approval or a workflow holds the Task         in 15 minutes     in 15 minutes
    MISSING     no such Task, or not yet                         Park              Stop (the URL)
    PERMANENT   this row, never                                  Reject            one by one
    FIELD       a field is not there, or not for us              Reject, or Stop   Stop
    ACCESS      the user may not, or an owner is inactive        Reject, or Stop   Stop
    LIMIT       the allocation of API calls is spent             pause             pause
    DOWN        the org is overloaded or in maintenance          pause             pause
    SESSION     the login has ended, or the org has moved        log in            log in
    DISABLED    the org or the user is shut for the API          Stop              Stop
    (unknown)                                                    in minutes        by HTTP status

A row that fails again and again waits as long again as it has been tried, at most an hour
(`core/settle.py`). Many rows of LOCK or HEAVY in one request make later requests smaller, and all
of one code of CODE halve the request: one row may have failed for all.
"Reject, or Stop": where it is the same for every row of a request (and, for access, the request
is not small), nothing is wrong with the rows. Codes of the lists that are not here belong to other
objects, to setup, or to mail; met on a Task they come from the org's own automation, and are
treated as unknown ones.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class Class(Enum):
    """See the table above."""

    LOCK = auto()
    HEAVY = auto()
    AGAIN = auto()
    CODE = auto()
    HELD = auto()
    MISSING = auto()
    PERMANENT = auto()
    FIELD = auto()
    ACCESS = auto()
    LIMIT = auto()
    DOWN = auto()
    SESSION = auto()
    DISABLED = auto()


CLASSES: Final[dict[Class, str]] = {
    Class.LOCK: "UNABLE_TO_LOCK_ROW",
    Class.HEAVY: "TOO_MANY_APEX_REQUESTS REQUEST_RUNNING_TOO_LONG QUERY_TIMEOUT"
    " TXN_SECURITY_METERING_ERROR OPERATION_TOO_LARGE APEX_TRIGGER_COUPLING_LIMIT"
    " REALTIME_PROCESSING_TIME_EXCEEDED_LIMIT",
    Class.AGAIN: "ALL_OR_NONE_OPERATION_ROLLED_BACK PROCESSING_HALTED BATCH_PROCESSING_HALTED"
    " COLLISION_DETECTED ENTITY_FAILED_IFLASTMODIFIED_ON_UPDATE",
    Class.CODE: "CANNOT_EXECUTE_FLOW_TRIGGER CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY APEX_ERROR"
    " APEX_DATA_ACCESS_RESTRICTION CUSTOM_APEX_ERROR FLOW_EXCEPTION MAX_DEPTH_IN_FLOW_EXECUTION"
    " SELF_REFERENCE_FROM_TRIGGER UNSUPPORTED_APEX_TRIGGER_OPERATION NO_APPLICABLE_PROCESS"
    " ENTITY_SAVE_ERROR INTERNAL_ERROR UNKNOWN_EXCEPTION ERROR_IN_MAILER"
    " EMAIL_NOT_PROCESSED_DUE_TO_PRIOR_ERROR SINGLE_EMAIL_LIMIT_EXCEEDED"
    " PLATFORM_EVENT_PUBLISHING_UNAVAILABLE PLATFORM_EVENT_PUBLISH_FAILED",
    Class.HELD: "ENTITY_IS_LOCKED RECORD_IN_USE_BY_WORKFLOW ALREADY_IN_PROCESS"
    " TERRITORY_REALIGN_IN_PROGRESS",
    Class.MISSING: "INVALID_CROSS_REFERENCE_KEY NOT_FOUND MISSING_RECORD",
    Class.PERMANENT: "ENTITY_IS_DELETED ENTITY_IS_ARCHIVED MALFORMED_ID INVALID_ID_FIELD"
    " MISSING_ARGUMENT FIELD_CUSTOM_VALIDATION_EXCEPTION FIELD_FILTER_VALIDATION_EXCEPTION"
    " FIELD_INTEGRITY_EXCEPTION ENTITY_SAVE_VALIDATION_ERROR REQUIRED_FIELD_MISSING"
    " STRING_TOO_LONG NUMBER_OUTSIDE_VALID_RANGE INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
    " INVALID_TYPE_ON_FIELD_IN_RECORD INVALID_CROSS_REFERENCE_TYPE_FOR_FIELD"
    " INVALID_ARGUMENT_TYPE INVALID_DATE_FORMAT INVALID_CURRENCY_ISO INVALID_EMAIL_ADDRESS"
    " INVALID_INPUT INVALID_STATUS INVALID_SAVE_AS_ACTIVITY_FLAG MAX_TASK_DESCRIPTION_EXCEEDED"
    " TEXT_DATA_OUTSIDE_SUPPORTED_CHARSET TOO_MANY_ENUM_VALUE CIRCULAR_DEPENDENCY"
    " DEPENDENCY_EXISTS CANNOT_REPARENT_RECORD CANNOT_UPDATE_CONVERTED_LEAD"
    " ASSIGNEE_TYPE_REQUIRED INVALID_ASSIGNEE_TYPE INVALID_EMPTY_KEY_OWNER INVALID_OWNER"
    " INVALID_PERSON_ACCOUNT_OPERATION UNAVAILABLE_RECORDTYPE_EXCEPTION FAILED_ACTIVATION"
    " FILTERED_LOOKUP_LIMIT_EXCEEDED DUPLICATE_EXTERNAL_ID DUPLICATE_VALUE DUPLICATES_DETECTED",
    Class.FIELD: "INVALID_FIELD INVALID_FIELD_FOR_INSERT_UPDATE FIELD_NOT_UPDATABLE INVALID_TYPE"
    " INVALID_TYPE_FOR_OPERATION",
    Class.ACCESS: "INSUFFICIENT_ACCESS INSUFFICIENT_ACCESS_OR_READONLY"
    " INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY INACTIVE_OWNER_OR_USER INACTIVE_PORTAL"
    " INVALID_ACCESS_LEVEL INVALID_READ_ONLY_USER_DML OP_WITH_INVALID_USER_TYPE_EXCEPTION"
    " LIGHT_PORTAL_USER_EXCEPTION COMMUNITY_NOT_ACCESSIBLE CHILD_SHARE_FAILS_PARENT"
    " SHARE_NEEDED_FOR_CHILD_OWNER TRANSFER_REQUIRES_READ TXN_SECURITY_NO_ACCESS"
    " LICENSE_LIMIT_EXCEEDED PACKAGE_LICENSE_REQUIRED INVALID_PACKAGE_LICENSE",
    Class.LIMIT: "REQUEST_LIMIT_EXCEEDED",
    Class.DOWN: "SERVER_UNAVAILABLE INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE"
    " ORG_IN_MAINTENANCE FUNCTIONALITY_TEMPORARILY_UNAVAILABLE API_CURRENTLY_DISABLED",
    Class.SESSION: "INVALID_SESSION_ID INVALID_AUTH_HEADER TXN_SECURITY_END_A_SESSION"
    " URL_NOT_RESET ORG_NOT_OWNED_BY_INSTANCE",
    Class.DISABLED: "API_DISABLED_FOR_ORG STORAGE_LIMIT_EXCEEDED EXCEEDED_QUOTA"
    " FUNCTIONALITY_NOT_ENABLED UNSUPPORTED_API_VERSION UNSUPPORTED_CLIENT"
    " CLIENT_NOT_ACCESSIBLE_FOR_USER CLIENT_REQUIRE_UPDATE_FOR_USER TRIAL_EXPIRED ORG_LOCKED"
    " PORTAL_NO_ACCESS PASSWORD_LOCKOUT INVALID_OPERATION_WITH_EXPIRED_PASSWORD"
    " LOGIN_CHALLENGE_ISSUED LOGIN_CHALLENGE_PENDING LOGIN_DURING_RESTRICTED_DOMAIN"
    " LOGIN_DURING_RESTRICTED_TIME MUTUAL_AUTHENTICATION_FAILED TXN_SECURITY_TWO_FA_REQUIRED",
}
BY_CODE: Final = {code: kind for kind, codes in CLASSES.items() for code in codes.split()}
