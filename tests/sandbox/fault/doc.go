// Package fault holds the sandbox's faults: what goes wrong where, when, how often.
//
// Faults are data, read from YAML. A file is a list; each fault has one point
// and one action, and as many of them as wanted strike the same thing, in the
// file's order:
//
//	faults:
//	  - name: the record of CreateRole never reaches the archive
//	    at: record
//	    match: 'it.eventName == "CreateRole"'
//	    times: 1
//	    do: {drop: true}
//
// Anybody can try one: go -C tests run ./sandbox -data DIR -faults FILE. A
// running sandbox takes others (PUT /_sandbox/faults) and says how often each has
// struck (GET /_sandbox/faults).
//
// # Keys of a fault
//
//   - name: what it is, once in a file.
//   - at: the point at which it strikes: call, record, file, digest, object, alert, ticket
//     or chat.
//   - match: a CEL condition over the thing, it. A condition on a field that a
//     thing does not have is not true of it.
//   - do: one action.
//   - times: at most so often; without it always.
//   - after, for: when, by the sandbox's clock: not before so long after the start
//     (or the last PUT of faults), and for so long. Without them always.
//   - hop, of a record's fault: delivered (the default), which leaves the provider's
//     own event history as it is, or emitted, which the history shows too.
//   - wait, of an object's fault: so long after the object came, by the sandbox's clock.
//
// A window makes "throttled for a minute" data:
//
//	faults:
//	  - name: the archive's listings are throttled for a minute, ten minutes after the start
//	    at: call
//	    match: 'it.service == "s3" && it.operation == "ListObjectsV2"'
//	    after: 10m
//	    for: 1m
//	    do: {error: {code: SlowDown, message: Please reduce your request rate, status: 503}}
//
// # at: call
//
// A call of an API, authenticated and known:
// it = {service, operation, account, region, params, principal, n, nth}: n its
// ordinal since the start, nth which of its principal's changing calls it is, from
// 1 (0 if it changes nothing). It can
//
//   - error: be answered with an error, before the effect or after it;
//   - hang: get no answer, before the effect or after it;
//   - expire: find its session ended: this call and all later ones of the session are
//     answered ExpiredToken, and leave no record (a key that is no session's: this call only);
//   - skew: meet a service whose clock is off: the Date of the answer and the time of the record.
//
// Examples:
//
//	faults:
//	  - name: KMS is throttled
//	    at: call
//	    match: 'it.service == "kms" && it.region == "eu-west-1"'
//	    do: {error: {code: ThrottlingException, message: Rate exceeded, status: 400, when: before}}
//	  - name: a rule is made, and the answer is lost
//	    at: call
//	    match: 'it.operation == "AuthorizeSecurityGroupIngress"'
//	    times: 1
//	    do: {hang: {for: 2s, when: after}}
//	  - name: the session ends before the undo
//	    at: call
//	    match: 'it.operation == "DeleteRole"'
//	    times: 1
//	    do: {expire: true}
//	  - name: the clocks of one region are five minutes fast
//	    at: call
//	    match: 'it.region == "eu-west-1"'
//	    do: {skew: 5m}
//
// # at: record
//
// The record of a call, on its way from the service to the archive; it = the
// record as JSON has it. It can
//
//   - drop: be lost;
//   - delay: be delivered so much later than usual;
//   - duplicate: be delivered so many times more;
//   - set: have fields set, by dotted path (objects on the way are made);
//   - unset: have fields removed;
//   - shift: have times moved, by dotted path.
//
// What a trail is configured to lose is said by the same means, because the
// provider's event history has it all the same. Examples:
//
//	faults:
//	  - name: the trail excludes KMS
//	    at: record
//	    match: 'it.eventSource == "kms.amazonaws.com"'
//	    do: {drop: true}
//	  - name: the trail is write-only
//	    at: record
//	    match: 'it.readOnly == true'
//	    do: {drop: true}
//	  - name: IAM never writes it at all
//	    at: record
//	    hop: emitted
//	    match: 'it.eventName == "CreateRole"'
//	    do: {drop: true}
//	  - name: the trail was stopped for an hour
//	    at: record
//	    match: 'true'
//	    for: 1h
//	    do: {drop: true}
//	  - name: late
//	    at: record
//	    match: 'it.eventName == "PutBucketPolicy"'
//	    do: {delay: 75m}
//	  - name: three times
//	    at: record
//	    match: 'it.eventName == "DisableKey"'
//	    do: {duplicate: 2}
//	  - name: it blames somebody else
//	    at: record
//	    match: 'it.eventName == "DisableKey"'
//	    do: {set: {userIdentity.arn: "arn:aws:iam::111122223333:user/jane.doe"}}
//	  - name: a denial that looks like a success
//	    at: record
//	    match: 'has(it.errorCode)'
//	    do: {unset: [errorCode, errorMessage]}
//	  - name: it says that it happened ten minutes earlier
//	    at: record
//	    match: 'it.eventName == "StopLogging"'
//	    do: {shift: {eventTime: -10m}}
//
// # at: file
//
// A log file that is due; it = {key, account, region, n}. The digests say of it
// what the service meant to write. It can
//
//   - drop: never come;
//   - delay: come so much later;
//   - duplicate: come so many times more, each under a key of its own;
//   - truncate: lose so many bytes at its end;
//   - corrupt: have bytes in its middle flipped;
//   - reorder: have its records in the opposite order;
//   - replace: hold what the place's previous file held (nothing, if it is the first);
//   - layout: have a key without the organisation's id.
//
// Examples:
//
//	faults:
//	  - name: never comes
//	    at: file
//	    match: 'it.account == "444455556666" && it.region == "eu-west-1"'
//	    do: {drop: true}
//	  - name: delivery stands still for an hour and resumes
//	    at: file
//	    match: 'true'
//	    for: 1h
//	    do: {delay: 1h}
//	  - name: twice
//	    at: file
//	    match: 'it.n == 2'
//	    do: {duplicate: 1}
//	  - name: cut off
//	    at: file
//	    match: 'it.n == 3'
//	    do: {truncate: 1024}
//	  - name: damaged
//	    at: file
//	    match: 'it.n == 4'
//	    do: {corrupt: true}
//	  - name: the other way round
//	    at: file
//	    match: 'it.n == 5'
//	    do: {reorder: true}
//	  - name: an older file in its place
//	    at: file
//	    match: 'it.n == 6'
//	    do: {replace: true}
//	  - name: before the trail became the organisation's
//	    at: file
//	    match: 'it.region == "us-east-1"'
//	    do: {layout: without-organization}
//
// # at: digest
//
// An hour's digest that is due; it = {key, account, region, n}. The next digest
// refers to it as it was meant to be. It can
//
//   - drop, delay, truncate, corrupt: as a file can;
//   - set, unset: have fields changed after it was signed;
//   - replace: be the previous digest again, signature and all.
//
// Examples:
//
//	faults:
//	  - name: the first digest never comes
//	    at: digest
//	    match: 'it.n == 1'
//	    do: {drop: true}
//	  - name: the second is three hours late
//	    at: digest
//	    match: 'it.n == 2'
//	    do: {delay: 3h}
//	  - name: cut off
//	    at: digest
//	    match: 'it.n == 3'
//	    do: {truncate: 100}
//	  - name: damaged
//	    at: digest
//	    match: 'it.n == 4'
//	    do: {corrupt: true}
//	  - name: a file is taken out of the list
//	    at: digest
//	    match: 'it.n == 5'
//	    do: {set: {logFiles: []}}
//	  - name: it begins a chain of its own
//	    at: digest
//	    match: 'it.n == 6'
//	    do: {unset: [previousDigestSignature]}
//	  - name: yesterday's digest again
//	    at: digest
//	    match: 'it.n == 7'
//	    do: {replace: true}
//
// # at: object
//
// A log file or digest that stands in the archive;
// it = {key, kind, account, region, n}, kind "log" or "digest". At once, or after
// wait, it can
//
//   - delete: be deleted as anybody may who has the right, Object Lock or not: a
//     marker hides it, the version stays;
//   - replace: get a new version, of what the place's previous file or digest held;
//   - truncate, corrupt: get a new version that is damaged;
//   - copy: be copied to another key, in which one text replaces another;
//   - retain: be kept under a weaker retention than the bucket's default, from the
//     moment it comes (later, S3 refuses): mode GOVERNANCE or COMPLIANCE for so
//     long, or NONE (the sandbox's server shows none then, but still refuses to
//     delete the version). It does not wait.
//
// Examples:
//
//	faults:
//	  - name: hidden half an hour after it came
//	    at: object
//	    match: 'it.kind == "log" && it.account == "111122223333"'
//	    wait: 30m
//	    do: {delete: true}
//	  - name: an older file written over it
//	    at: object
//	    match: 'it.n == 1'
//	    do: {replace: true}
//	  - name: overwritten by half of itself
//	    at: object
//	    match: 'it.n == 2'
//	    wait: 1h
//	    do: {truncate: 200}
//	  - name: overwritten by noise
//	    at: object
//	    match: 'it.n == 3'
//	    do: {corrupt: true}
//	  - name: a copy among another region's files
//	    at: object
//	    match: 'it.kind == "log" && it.region == "eu-west-1"'
//	    do: {copy: {old: eu-west-1, new: us-east-1}}
//	  - name: anybody with the bypass right may delete it tomorrow
//	    at: object
//	    match: 'it.kind == "log" && it.n == 4'
//	    do: {retain: {mode: GOVERNANCE, for: 24h}}
//	  - name: not retained at all
//	    at: object
//	    match: 'it.kind == "digest"'
//	    do: {retain: {mode: NONE}}
//
// # at: alert
//
// An event rule that an event matched is about to tell its target, a topic or a queue:
// it = {alert, bus, account, region, target, event, message}. alert is the rule's name,
// bus, account and region are where the rule is, target the ARN of the topic or queue;
// event is the event as the rule saw it, message the text that it makes of it. It can
//
//   - drop: tell nobody;
//   - delay: tell it so much later;
//   - duplicate: tell it so many times more, each a message of its own;
//   - set, unset: tell of an event with fields changed, by dotted path.
//
// That an alert is suppressed is no fault of a rule: a subscription with a filter policy,
// a rule that is disabled and a finding that is archived are settings. Examples:
//
//	faults:
//	  - name: nobody is told of keys
//	    at: alert
//	    match: 'it.alert == "keys-changed"'
//	    do: {drop: true}
//	  - name: twenty minutes late
//	    at: alert
//	    match: 'it.target.startsWith("arn:aws:sns:")'
//	    do: {delay: 20m}
//	  - name: twice
//	    at: alert
//	    match: 'it.event.detail.eventName == "CreateRole"'
//	    do: {duplicate: 1}
//	  - name: it names another event
//	    at: alert
//	    match: 'it.alert == "network-changed" && it.event.account == "444455556666"'
//	    do: {set: {detail.requestID: 4d4ce0a3-3c6d-4b57-8f5b-7e2f8f9a1b20}}
//	  - name: it does not say who
//	    at: alert
//	    match: 'it.message.contains("AssumeRole")'
//	    do: {unset: [detail.userIdentity]}
//
// # at: ticket
//
// A call of the ticket system, authenticated and known;
// it = {operation, method, path, user, key, n, nth}, key of the ticket that it is
// about ("" if none), n and nth as of a call. It can
//
//   - error: be answered with an error, before the effect or after it;
//   - hang: get no answer, before the effect or after it;
//   - drop: never arrive, while the connection is closed.
//
// Examples:
//
//	faults:
//	  - name: Jira is down for an hour
//	    at: ticket
//	    match: 'true'
//	    for: 1h
//	    do: {error: {code: Unavailable, message: Jira is down for maintenance, status: 503}}
//	  - name: a ticket is made, and the answer is lost
//	    at: ticket
//	    match: 'it.operation == "createIssue"'
//	    times: 1
//	    do: {hang: {for: 2s, when: after}}
//	  - name: the third change never arrives
//	    at: ticket
//	    match: 'it.nth == 3'
//	    do: {drop: true}
//
// # at: chat
//
// A call of the chat's API, with the right token; it = {method, channel, thread, n}. It
// can
//
//   - error: be answered with an error (status 429: come again; from 500 on: no answer of
//     the API at all), before the effect or after it;
//   - hang: get no answer, before the effect or after it.
//
// Examples:
//
//	faults:
//	  - name: the chat is down three times
//	    at: chat
//	    match: 'it.method == "chat.postMessage"'
//	    times: 3
//	    do: {error: {code: internal_error, status: 503}}
//	  - name: a message is posted, and the answer is lost
//	    at: chat
//	    match: 'it.method == "chat.postMessage" && it.thread == ""'
//	    times: 1
//	    do: {hang: {for: 2s, when: after}}
//
// # For who adds one
//
// The place that can go wrong asks Fire what to do to the thing at hand, and does
// it. Adding a fault to a test is adding a few lines to a file; only a new kind of
// action touches code: a field of Do, a line in actions, the place that does it,
// and its example above, which a test insists on.
package fault
