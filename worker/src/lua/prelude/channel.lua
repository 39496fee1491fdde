-- Go's channels, as far as one script alone can use them: queues that never block.
local host, channel = ...
local setmetatable, error, type, select = setmetatable, error, type, select
local methods = {}
local meta = {__index = methods}

function channel.make()
  return setmetatable({first = 1, last = 0, closed = false}, meta)
end

function methods:send(value)
  if self.closed then error("send on closed channel", 2) end
  self.last = self.last + 1
  self[self.last] = value
end

-- Whether there was a value, and the value.
function methods:receive()
  if self.first > self.last then return false, nil end
  local value = self[self.first]
  self[self.first] = nil
  self.first = self.first + 1
  return true, value
end

function methods:close()
  if self.closed then error("close of closed channel", 2) end
  self.closed = true
end

-- The first case that can go on: its index, what was received, whether anything was.
function channel.select(...)
  local default
  for i = 1, select("#", ...) do
    local case = select(i, ...)
    local kind, queue, third, fourth = case[1], case[2], case[3], case[4]
    if kind == "default" then
      default = i
      if type(queue) == "function" then default = {i, queue} end
    elseif kind == "<-|" then
      queue:send(third)
      if type(fourth) == "function" then fourth(third) end
      return i, nil, false
    elseif queue.first <= queue.last or queue.closed then
      local ok, value = queue:receive()
      if type(third) == "function" then third(ok, value) end
      return i, value, ok
    end
  end
  if not default then error("all channels would block for ever", 2) end
  if type(default) == "table" then
    default[2]()
    default = default[1]
  end
  return default, nil, false
end
