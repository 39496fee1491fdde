-- `storage`: values kept as JSON under keys. One object for each path; it goes with the run, its file with
-- the folder that it is in.
local storage, base = ...
local class, text = base.chunk("objects")(base)
local json, ioutil, clock = base.module("json"), base.module("ioutil"), base.module("time")
local encode, decode, write_file, now = json.encode, json.decode, ioutil.write_file, clock.unix_nano
local pack, unpack, slurp, rename = storage.pack, storage.unpack, base["io.slurp"], base["os.rename"]
local type, select, error, find, floor, sort = type, select, error, string.find, math.floor, table.sort
local pairs, concat, rawset = pairs, table.concat, rawset
storage.pack, storage.unpack = nil, nil

-- Nanoseconds since 1970 that never come: the year 2261, within an int64.
local FOREVER = 9.2e18

local methods, opened = {}, {}
local new, of, meta = class("storage_ud", methods)
rawset(_G, "storage_ud", meta)

-- Writes what is still valid, and forgets the rest.
local function sync(state)
  local parts, time = {}, now()
  for key, item in pairs(state.data) do
    if item.till <= time then state.data[key] = nil end
  end
  local keys = {}
  for key in pairs(state.data) do keys[#keys + 1] = key end
  sort(keys)
  for i = 1, #keys do
    local item = state.data[keys[i]]
    parts[i] = concat {encode(keys[i]), ':{"value":"', pack(item.value), '","max_valid_at":', encode(floor(item.till)), "}"}
  end
  local path = state.path
  local problem = write_file(path .. ".tmp", '{"data":{' .. concat(parts, ",") .. "}}")
  if problem then return problem end
  local _, failed = rename(path .. ".tmp", path)
  return failed
end

-- What a file's text says; or nil and the error.
local function load(content)
  local whole, problem = decode(content)
  if problem then return nil, problem end
  local data, items = type(whole) == "table" and whole.data, {}
  if type(data) ~= "table" then return items end
  for key, item in pairs(data) do
    local value = type(item) == "table" and type(item.value) == "string" and unpack(item.value)
    if not value or type(item.max_valid_at) ~= "number" then
      return nil, "storage: malformed item " .. text(key, 1, "open")
    end
    items[key] = {value = value, till = item.max_valid_at}
  end
  return items
end

function storage.open(path, ...)
  path = text(path, 1, "open")
  if select("#", ...) > 0 and text((...), 2, "open") ~= "memory" then return nil, "driver not found" end
  if opened[path] then return new(opened[path]) end
  local state, content, problem = {path = path, data = {}}, slurp(path)
  if content then
    state.data, problem = load(content)
    if not state.data then return nil, problem end
  elseif not find(problem, ": no such file or directory$") then
    return nil, problem
  end
  problem = not content and write_file(path, "") or sync(state)
  if problem then return nil, problem end
  opened[path] = state
  return new(state)
end

function methods.set(self, ...)
  local state, key, value, ttl = of(self, "set"), ...
  key = text(key, 2, "set")
  if select("#", ...) < 2 then error("bad argument #3 to set (value expected)", 2) end
  if ttl ~= nil and type(ttl) ~= "number" then error("bad argument #4 to set (must be integer or nil)", 2) end
  local encoded, problem = encode(value)
  if not encoded then return problem end
  local seconds = ttl and floor(ttl) or 0
  state.data[key] = {value = encoded, till = seconds > 0 and now() + seconds * 1e9 or FOREVER}
end

function methods.get(self, key)
  local item = of(self, "get").data[text(key, 2, "get")]
  if not item or item.till <= now() then return nil, false end
  local value, problem = decode(item.value)
  if problem then return nil, nil, problem end
  return value, true
end

function methods.keys(self)
  local keys = {}
  for key in pairs(of(self, "keys").data) do keys[#keys + 1] = key end
  return keys
end

function methods.dump(self)
  local all, time = {}, now()
  for key, item in pairs(of(self, "dump").data) do
    if item.till > time then all[key] = decode(item.value) end
  end
  return all
end

function methods.sync(self) return sync(of(self, "sync")) end

function methods.close(self) return sync(of(self, "close")) end

return storage
