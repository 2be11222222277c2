// Says what is wrong with the state machine on standard input's file (argument), if anything.
import { readFileSync } from 'node:fs';
const { default: validate } = await import('asl-validator');
const { isValid, errors } = validate(JSON.parse(readFileSync(process.argv[2], 'utf8')), { checkArn: true, checkPaths: true });
process.stdout.write(JSON.stringify({ isValid, errors }));
