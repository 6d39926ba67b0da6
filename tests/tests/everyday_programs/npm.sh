mkdir -p hello/bin application
echo '{ "name": "hello", "version": "1.0.0", "bin": "bin/hello.js", "scripts": { "install": "echo built > built" } }' > hello/package.json
printf '#!/usr/bin/env node\nconsole.log("hello")\n' > hello/bin/hello.js
(cd hello && npm pack --silent --offline --pack-destination ..)
cd application
npm init --yes --silent > /dev/null
npm install --offline --no-audit --no-fund --silent ../hello-1.0.0.tgz
rm -r node_modules
npm ci --offline --no-audit --no-fund --silent
test "$(npx --offline hello)" = hello
test "$(cat node_modules/hello/built)" = built
