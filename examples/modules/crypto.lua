--* subject: example.crypto
--* name: crypto

-- Digests, and a signature that is checked in constant time.
--   curl -d 'hello' http://127.0.0.1:7643/example.crypto

local crypto = require("crypto")

function OnMessage(subject, payload)
  local signature = crypto.hmac("sha256", "key", payload)
  local genuine = crypto.equal(signature, crypto.hmac("sha256", "key", payload))
  return crypto.md5(payload) .. " " .. tostring(genuine)
end
