--* subject: funcs.webhook
--* name: webhook
--* http: true

-- Receives GitHub's webhooks: the signature over the raw body tells that the sender knows the secret. Start the
-- server with the secret in its environment and the right to read it:
--   WEBHOOK_SECRET=secret msgscript-broker --script examples --allow env:WEBHOOK_SECRET
-- (The server can check signatures by itself for a tenant's functions: [[tenant.http.webhook]].)
local crypto = require("crypto")
local json = require("json")

function POST(url, body, headers)
  local secret = os.getenv("WEBHOOK_SECRET")
  if not secret then return "WEBHOOK_SECRET is not granted", 503 end
  local expected = "sha256=" .. crypto.hmac("sha256", secret, body)
  -- Compared in constant time: how long it takes tells nothing.
  if not crypto.equal(expected, headers["x-hub-signature-256"] or "") then return "wrong signature", 403 end
  local event, err = json.decode(body)
  if err then return "not JSON: " .. err, 400 end
  print("event", headers["x-github-event"], event.action)
  return "thanks", 202, {["Content-Type"] = "text/plain"}
end
