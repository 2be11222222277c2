// What jira.js, which checks every answer by a schema of its own, makes of the site.
import assert from 'node:assert/strict'
import { createClient } from 'jira.js/core'
import * as cloud from 'jira.js/cloud'

const [host, email, apiToken] = process.argv.slice(2)
const client = createClient({ host, auth: { type: 'basic', email, apiToken }, onSchemaMismatch: 'throw' })
const text = (s) => ({ type: 'doc', version: 1, content: [{ type: 'paragraph', content: [{ type: 'text', text: s }] }] })
const refused = async (status, promise) => assert.equal((await promise.then(() => ({}), (e) => e)).status, status)

assert.equal((await cloud.getCurrentUser(client, {})).emailAddress, email)
assert.equal((await cloud.getServerInfo(client)).deploymentType, 'Cloud')
assert.equal((await cloud.getProject(client, { projectIdOrKey: 'SEC' })).key, 'SEC')

const types = await cloud.getCreateIssueMetaIssueTypes(client, { projectIdOrKey: 'SEC' })
const bug = types.issueTypes.find((t) => t.name === 'Bug')
const meta = await cloud.getCreateIssueMetaIssueTypeId(client, { projectIdOrKey: 'SEC', issueTypeId: bug.id })
assert.ok(meta.fields.some((f) => f.fieldId === 'customfield_10042' && f.schema.customId === 10042))

const fields = { project: { key: 'SEC' }, issuetype: { id: bug.id }, summary: 's', description: text('d'), labels: ['auditcanary-x'] }
const made = await cloud.createIssue(client, { fields, properties: [{ key: 'p', value: { a: 1 } }] })
const second = await cloud.createIssue(client, { fields })
await refused(400, cloud.createIssue(client, { fields: { ...fields, customfield_1: 'x' } }))
await refused(400, cloud.createIssue(client, { fields: { ...fields, description: { type: 'doc', version: 1, content: [{ type: 'paragraph', content: [{ type: 'text', text: '' }] }] } } }))
await refused(404, cloud.getIssue(client, { issueIdOrKey: 'SEC-99' }))

const issue = await cloud.getIssue(client, { issueIdOrKey: made.key, properties: ['p'] })
assert.deepEqual(issue.fields.description, text('d'))
assert.deepEqual(issue.properties, { p: { a: 1 } })
await cloud.editIssue(client, { issueIdOrKey: made.key, fields: { summary: 't' } })
assert.equal((await cloud.getIssue(client, { issueIdOrKey: made.key, fields: ['summary'] })).fields.summary, 't')

await cloud.setIssueProperty(client, { issueIdOrKey: made.key, propertyKey: 'q', body: { b: 2 } })
assert.deepEqual((await cloud.getIssuePropertyKeys(client, { issueIdOrKey: made.key })).keys.map((k) => k.key), ['p', 'q'])
await cloud.deleteIssueProperty(client, { issueIdOrKey: made.key, propertyKey: 'p' })
await refused(404, cloud.getIssueProperty(client, { issueIdOrKey: made.key, propertyKey: 'p' }))

const comment = await cloud.addComment(client, { issueIdOrKey: made.key, body: text('c'), properties: [{ key: 'm', value: 1 }] })
assert.equal((await cloud.getComments(client, { issueIdOrKey: made.key, orderBy: '-created' })).comments[0].id, comment.id)
const listed = await cloud.getCommentsByIds(client, { ids: [Number(comment.id)], expand: 'properties' })
assert.deepEqual(listed.values[0].properties, [{ key: 'm', value: 1 }])
assert.equal((await cloud.getCommentProperty(client, { commentId: comment.id, propertyKey: 'm' })).value, 1)

const [file] = await cloud.addAttachment(client, { issueIdOrKey: made.key, attachments: { filename: 'e.json', content: '{}' } })
assert.equal((await cloud.getAttachment(client, { id: file.id })).filename, 'e.json')

const ways = await cloud.getTransitions(client, { issueIdOrKey: made.key, expand: 'transitions.fields' })
const finish = ways.transitions.find((t) => t.to.statusCategory.key === 'done')
await refused(400, cloud.doTransition(client, { issueIdOrKey: made.key, transition: { id: finish.id } }))
await cloud.doTransition(client, { issueIdOrKey: made.key, transition: { id: finish.id }, fields: { resolution: { name: 'Done' } } })

const jql = 'project = SEC AND labels = "auditcanary-x" ORDER BY created ASC, key ASC'
const first = await cloud.searchAndReconsileIssuesUsingJqlPost(client, { jql, fields: ['status', 'labels'], maxResults: 1 })
assert.deepEqual([first.issues[0].key, first.issues[0].fields.status.name, first.isLast], [made.key, 'Done', false])
const rest = await cloud.searchAndReconsileIssuesUsingJqlPost(client, { jql, fields: ['status'], maxResults: 1, nextPageToken: first.nextPageToken })
assert.deepEqual([rest.issues[0].key, rest.isLast], [second.key, true])
await refused(400, cloud.searchAndReconsileIssuesUsingJqlPost(client, { jql: 'project = NOPE' }))
await refused(400, cloud.searchAndReconsileIssuesUsingJqlPost(client, { jql: 'ORDER BY created' }))
await refused(410, client.sendRequest({ url: '/rest/api/3/search?jql=project=SEC', method: 'GET' }))
await refused(401, cloud.getCurrentUser(createClient({ host, auth: { type: 'basic', email, apiToken: 'no' } }), {}))

await cloud.deleteIssue(client, { issueIdOrKey: made.key })
await refused(404, cloud.getIssue(client, { issueIdOrKey: made.key }))
console.log('all as it should be')
