// Reads {folder, policies, cases} from standard input, and says for each case whether IAM would allow it.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const { folder, policies, cases } = JSON.parse(readFileSync(0, "utf8"));
const require = createRequire(join(folder, "package.json"));
const { runSimulation } = require("@cloud-copilot/iam-simulate");

const answers = [];
for (const { role, action, resource, context } of cases) {
  const result = await runSimulation(
    {
      request: {
        principal: `arn:aws:iam::123456789012:role/cloudfn-main-${role}`,
        action,
        resource: { resource, accountId: "123456789012" },
        contextVariables: context,
      },
      identityPolicies: [{ name: role, policy: policies[role] }],
      serviceControlPolicies: [],
      resourceControlPolicies: [],
    },
    {},
  );
  answers.push(result.errors ? { error: result.errors } : result);
}
console.log(JSON.stringify(answers));
