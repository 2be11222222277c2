// Runs one execution of a state machine in an interpreter that others wrote. Its tasks
// are calls to ENDPOINT, which has our function binaries behind it.
//
//   node --input-type=module - ENDPOINT < interpret.mjs
//
// GET ENDPOINT/execution gives {definition, input, context}; POST ENDPOINT/invoke/STATE
// calls a function; POST ENDPOINT/wait takes the seconds that a Wait state waits, and
// returns when they have passed there; GET ENDPOINT/abort answers when the execution is to
// be cancelled. Prints {output | error, events}.
Promise.withResolvers ??= function () { // the interpreter wants Node 22; this is all that 20 lacks
  let resolve, reject;
  const promise = new Promise((a, b) => { resolve = a; reject = b; });
  return { promise, resolve, reject };
};
const { StateMachine } = await import('aws-local-stepfunctions');
const endpoint = process.argv[2];
const post = (path, body) => fetch(endpoint + path, { method: 'POST', body: JSON.stringify(body) });
const job = await (await fetch(endpoint + '/execution')).json();

const states = {};
const collect = (machine) => {
  for (const [name, state] of Object.entries(machine.States)) {
    if (states[name]) throw new Error(`two states are named ${name}`);
    states[name] = state;
    if (state.ItemProcessor) collect(state.ItemProcessor);
  }
};
collect(job.definition);

// A Wait is as long as the clock behind ENDPOINT needs. The interpreter's own override is
// a number of milliseconds, so that whoever comes after a Wait waits for that clock too.
let clock = Promise.resolve();
const at = (path, value) => path.slice(2).split('.').reduce((v, key) => v[key], value);
const handlers = {}, waits = {}, retries = {};
for (const [name, state] of Object.entries(states)) {
  if (state.Retry) retries[name] = 1;
  if (state.Type === 'Wait') waits[name] = 20;
  if (state.Type !== 'Task') continue;
  handlers[name] = async (input) => {
    await new Promise((done) => setTimeout(done, 5)); // the Wait before has been seen by then
    await clock;
    const reply = await post(`/invoke/${name}`, input);
    const body = await reply.json();
    if (reply.ok) return body;
    const error = new Error(body.errorMessage);
    error.name = body.errorType;
    throw error;
  };
}
const machine = new StateMachine(job.definition, { validationOptions: { checkArn: false } });
const execution = machine.run(job.input, {
  context: job.context,
  overrides: { taskResourceLocalHandlers: handlers, waitTimeOverrides: waits, retryIntervalOverrides: retries },
});
fetch(endpoint + '/abort').then((reply) => { if (reply.ok) execution.abort(); }).catch(() => {});
const events = [];
const log = (async () => {
  for await (const event of execution.eventLogs) {
    const { type, index, parentState, state, retry } = event;
    events.push({ type, index, parent: parentState?.name, state: state?.name, kind: state?.type, attempt: retry?.attempt, bytes: state ? JSON.stringify(state.output ?? state.input ?? null).length : 0 });
    if (type === 'StateEntered' && state.type === 'Wait') {
      const def = states[state.name];
      const seconds = def.Seconds ?? at(def.SecondsPath, state.input);
      const before = clock;
      clock = before.then(() => post('/wait', { state: state.name, seconds }));
    }
  }
})();
const result = {};
try {
  result.output = await execution.result;
} catch (error) {
  result.error = { name: error.cause?.name ?? error.name, message: String(error.cause?.message ?? error.message) };
}
await Promise.race([log, new Promise((done) => setTimeout(done, 500))]);
result.events = events;
process.stdout.write(JSON.stringify(result), () => process.exit(0));
