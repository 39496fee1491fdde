-- `tcp`: connections as objects, with what was read ahead.
local host = ...
local dial, send, receive, shut = host.open, host.write, host.read, host.close
local type, tostring, tonumber, error, select, setmetatable = type, tostring, tonumber, error, select, setmetatable
local find, sub, match, format, concat = string.find, string.sub, string.match, string.format, table.concat

-- Bytes of one read from the network.
local PIECE = 64 * 1024

local methods, state = {}, setmetatable({}, {__mode = "k"})
tcp_client_ud = {__index = methods}

local function bad(number, name, why)
  error(format("bad argument #%d to %s (%s)", number, name, why), 3)
end

local function state_of(client, name)
  local own = state[client]
  if not own then
    error(format("bad argument #1 to %s (tcp_client_ud expected, got %s)", name, type(client)), 3)
  end
  return own
end

local function seconds(client, field, usual)
  local value = client[field]
  return type(value) == "number" and value or usual
end

function methods.write(client, ...)
  local own = state_of(client, "write")
  for i = 1, select("#", ...) do
    local text = (select(i, ...))
    if type(text) ~= "string" and type(text) ~= "number" then
      bad(i + 1, "write", "string expected, got " .. type(text))
    end
    local done, problem = send(own.number, tostring(text), seconds(client, "writeTimeout", 1))
    if not done then bad(i + 1, "write", problem) end
  end
end

-- Reads some more into the buffer; false at the end. `level` is that of the script.
local function more(client, own, most)
  if own.ended then return false end
  local piece, problem = receive(own.number, most, seconds(client, "readTimeout", 1))
  if not piece then error(problem, 4) end
  if piece == "" then
    own.ended = true
    return false
  end
  own.buffer = own.buffer .. piece
  return true
end

local function take(own, size)
  local text = sub(own.buffer, 1, size)
  own.buffer = sub(own.buffer, size + 1)
  return text
end

local readers = {}

function readers.l(client, own)
  local from = 1
  while true do
    local at = find(own.buffer, "\n", from, true)
    if at then return (match(take(own, at), "^(.-)\r?\n$")) end
    from = #own.buffer + 1
    if not more(client, own, PIECE) then
      if own.buffer == "" then return nil end
      return take(own, #own.buffer)
    end
  end
end

function readers.a(client, own)
  local pieces = {take(own, #own.buffer)}
  while more(client, own, PIECE) do pieces[#pieces + 1] = take(own, #own.buffer) end
  return concat(pieces)
end

function readers.n(client, own)
  while not find(own.buffer, "%S%s") and #own.buffer < PIECE and more(client, own, PIECE) do end
  local blank, text = match(own.buffer, "^(%s*)([%+%-]?[%x%.xX]+)")
  local number = text and tonumber(text)
  if not number then return nil end
  take(own, #blank + #text)
  return number
end

local function sized(client, own, size)
  if size <= 0 then return "" end
  if own.buffer == "" and not more(client, own, size) then return nil end
  return take(own, size)
end

function methods.read(client, what)
  local own = state_of(client, "read")
  if what == nil then what = 1024 end
  local read = type(what) == "string" and readers[match(what, "^%*(.)") or ""]
  local result
  if read then
    result = read(client, own)
  elseif type(what) == "number" then
    result = sized(client, own, what)
  else
    bad(2, "read", "invalid options: " .. tostring(what))
  end
  return result
end

function methods.close(client)
  local own = state_of(client, "close")
  local done, problem = shut(own.number)
  if not done then error(problem, 2) end
end

local tcp = {}

function tcp.open(address, timeout)
  if type(address) == "number" then address = tostring(address) end
  if type(address) ~= "string" then bad(1, "open", "string expected, got " .. type(address)) end
  if timeout ~= nil and type(timeout) ~= "number" then
    bad(2, "open", "number expected, got " .. type(timeout))
  end
  local client = {dialTimeout = timeout or 5, readTimeout = 1, writeTimeout = 1, closeTimeout = 1}
  local number, problem = dial(address, client.dialTimeout)
  if not number then return nil, problem end
  state[client] = {number = number, buffer = "", ended = false}
  return setmetatable(client, tcp_client_ud)
end

return tcp
