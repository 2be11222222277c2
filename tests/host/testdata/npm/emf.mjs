// Writes what standard input says with AWS's own library for the embedded metric format:
// its checks of names, values, units, dimensions, namespace and time, and its serializer.
import {createRequire} from 'node:module';
import {readFileSync} from 'node:fs';
const require = createRequire(process.cwd() + '/');
const {MetricsContext} = require('aws-embedded-metrics/lib/logger/MetricsContext');
const {LogSerializer} = require('aws-embedded-metrics/lib/serializers/LogSerializer');

const {namespace, stage, timestamp, properties, metrics} = JSON.parse(readFileSync(0, 'utf8'));
const context = MetricsContext.empty();
context.setNamespace(namespace);
context.setTimestamp(new Date(timestamp));
context.setDimensions([{Stage: stage}], false);
for (const [name, value] of Object.entries(properties)) context.setProperty(name, value);
for (const {name, unit, values} of metrics) for (const value of values) context.putMetric(name, value, unit);
process.stdout.write(JSON.stringify(new LogSerializer().serialize(context)));
