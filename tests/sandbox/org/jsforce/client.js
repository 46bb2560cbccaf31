// Does with jsforce what its users do, and prints what it has seen as one JSON object.
"use strict";

const { createRequire } = require("node:module");
const [modules, url, key, secret, ids] = process.argv.slice(2);
const jsforce = createRequire(`${modules}/`)("jsforce");

async function main() {
  const oauth2 = { loginUrl: url, clientId: key, clientSecret: secret };
  const org = new jsforce.Connection({ oauth2, version: "66.0" });
  const user = await org.authorize({ grant_type: "client_credentials" });
  const task = await org.sobject("Task").describe();
  const rows = JSON.parse(ids).map((Id) => ({ Id, SMS_Status__c: "Delivery" }));
  const results = await org.sobject("Task").update(rows);
  const query = "SELECT Id, SMS_Status__c FROM Task WHERE SMS_Status__c = 'Delivery'";
  const found = await org.query(query);
  console.log(JSON.stringify({
    organizationId: user.organizationId,
    fields: task.fields.map((field) => field.name),
    written: results.filter((result) => result.success).length,
    found: found.totalSize,
    first: found.records[0].SMS_Status__c,
    used: org.limitInfo.apiUsage.used,
  }));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
