-- `vault`: the key-value store, version 2.
local host = ...
local fetch, encode, decode = host.fetch, host.encode, host.decode
local type, tostring, pairs, next, error, format = type, tostring, pairs, next, error, string.format
local find, gsub, concat, setmetatable, getenv = string.find, string.gsub, table.concat, setmetatable, os.getenv

local TIMEOUT = 60e9

local methods, state = {}, setmetatable({}, {__mode = "k"})
VaultKV = setmetatable({__index = methods}, {__index = methods})

local function text_at(number, name, value)
  if type(value) == "number" then return tostring(value) end
  if type(value) ~= "string" then
    error(format("bad argument #%d to %s (string expected, got %s)", number, name, type(value)), 3)
  end
  return value
end

local function state_of(client, name)
  local own = type(client) == "table" and state[client]
  if not own then error(format("bad argument #1 to %s (VaultKV expected, got %s)", name, type(client)), 3) end
  return own
end

-- Sends a request: the status and the decoded answer; or nil and an error.
local function ask(own, method, path, query, body)
  local fields = {"X-Vault-Request", "true"}
  if own.token ~= "" then fields[3], fields[4] = "X-Vault-Token", own.token end
  local url = own.address .. "/v1/" .. gsub(path, "[%c ?#%%]", function(letter)
    return format("%%%02X", letter:byte())
  end) .. query
  local result = fetch(method, url, fields, body, TIMEOUT)
  if type(result) == "string" then return nil, result end
  local answer = result.body ~= "" and decode(result.body) or nil
  if type(answer) ~= "table" then answer = {} end
  local status = result.status
  if status >= 200 and status < 300 or status == 404 then return status, answer end
  local problems = type(answer.errors) == "table" and concat(answer.errors, "; ") or result.body
  return nil, format("%s %s: Code: %d. Errors: %s", method, url, status, problems)
end

local function new(address, token, from_env)
  address, token = text_at(1, "new", address), text_at(2, "new", token)
  if from_env ~= nil and type(from_env) ~= "boolean" then
    error(format("bad argument #3 to new (boolean expected, got %s)", type(from_env)), 2)
  end
  if from_env then address, token = getenv("VAULT_ADDR") or address, getenv("VAULT_TOKEN") or token end
  if address == "" then address = "https://127.0.0.1:8200" end
  if not find(address, "^https?://[^%s%c]+$") then
    return nil, format("failed to create new vault client: parse %q: invalid URL", address)
  end
  local client = setmetatable({}, VaultKV)
  state[client] = {address = gsub(address, "/+$", ""), token = token}
  return client, nil
end

function methods.read(client, path, mount)
  local own = state_of(client, "read")
  path, mount = text_at(2, "read", path), text_at(3, "read", mount)
  local status, answer = ask(own, "GET", mount .. "/data" .. path, "")
  if not status then return nil, "failed to read path " .. path .. ": " .. answer end
  if type(answer.data) ~= "table" then return nil, "path " .. path .. " not found" end
  local found = answer.data.data
  if type(found) ~= "table" then
    error("interface conversion: interface {} is nil, not map[string]interface {}", 2)
  end
  for key, value in pairs(found) do
    if type(value) ~= "string" then
      error("interface conversion: the value of " .. tostring(key) .. " is a " .. type(value) .. ", not string", 2)
    end
  end
  return found, nil
end

function methods.write(client, path, values, mount)
  local own = state_of(client, "write")
  path = text_at(2, "write", path)
  if type(values) ~= "table" then
    error(format("bad argument #3 to write (table expected, got %s)", type(values)), 2)
  end
  mount = text_at(4, "write", mount)
  local texts, body = {}, '{"data":{}}'
  for key, value in pairs(values) do texts[tostring(key)] = tostring(value) end
  if next(texts) ~= nil then body = encode {data = texts} end
  local status, answer = ask(own, "PUT", mount .. "/data" .. path, "", body)
  if not status then return "failed to write to " .. path .. ": " .. answer end
  if status == 404 then return "failed to write to " .. path .. ": Code: 404" end
end

function methods.delete(client, path, mount)
  local own = state_of(client, "delete")
  path, mount = text_at(2, "delete", path), text_at(3, "delete", mount)
  local status, answer = ask(own, "DELETE", mount .. "/metadata" .. path, "")
  if not status then return "failed to delete " .. path .. ": " .. answer end
end

function methods.list(client, path, mount)
  local own = state_of(client, "list")
  path, mount = text_at(2, "list", path), text_at(3, "list", mount)
  local status, answer = ask(own, "GET", mount .. "/metadata" .. path, "?list=true")
  if not status then return nil, "failed to list " .. path .. ": " .. answer end
  local keys = type(answer.data) == "table" and answer.data.keys
  if type(keys) ~= "table" then
    error("runtime error: invalid memory address or nil pointer dereference", 0)
  end
  return keys, nil
end

VaultKV.new = new
return {new = new}
