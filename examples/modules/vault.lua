--* subject: modules.vault
--* name: vault

-- Reads and writes a Vault server's key-value store (version 2). The token is a secret of the broker's
-- configuration, which scripts use without seeing it:
--
--   [secret.vault]
--   file = "/run/secrets/vault-token"
--   hosts = ["127.0.0.1"]
--
-- Payload: the address, http://127.0.0.1:8200 if empty.

local vault = require("vault")

function OnMessage(subject, payload)
  local address = payload ~= "" and payload or "http://127.0.0.1:8200"
  local store, problem = vault.new(address, "{{secret:vault}}")
  if not store then return problem end
  problem = store:write("/greetings", { morning = "good morning" }, "secret")
  if problem then return problem end
  local values, missing = store:read("/greetings", "secret")
  if not values then return missing end
  return values.morning
end
