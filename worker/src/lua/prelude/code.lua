-- Code that comes as text, modules, and what is left of `debug`. Binary chunks are refused everywhere.
local host = ...
local native_load, native_traceback, native_getinfo = load, debug.traceback, debug.getinfo
local type, select, error, tonumber, ipairs, pairs = type, select, error, tonumber, ipairs, pairs
local find, match, gsub, gmatch = string.find, string.match, string.gsub, string.gmatch
local place, slurp, module, library, expected = host.place, host["io.slurp"], host.module, host.library, host.expected
local plugin = host.plugin

function load(chunk, name, mode, ...)
  if type(mode) == "string" and not find(mode, "t", 1, true) then
    return nil, "attempt to load chunk with wrong mode"
  end
  if select("#", ...) > 0 then return native_load(chunk, name, "t", (...)) end
  return native_load(chunk, name, "t")
end

function loadstring(text, name)
  return native_load(text, name, "t")
end

function loadfile(path)
  if path == nil then return native_load("", "=stdin", "t") end
  local text = slurp(path)
  if not text then return nil, "can not open file: " .. path end
  return native_load((gsub(text, "^#[^\n]*", "")), "@" .. path, "t")
end

local loadfile = loadfile
function dofile(path)
  local chunk, problem = loadfile(path)
  if not chunk then error(problem, 2) end
  return chunk()
end

-- The native module() keeps its modules in this very table, so it stays.
local loaded, seeall, package = package.loaded, package.seeall, package
local preload, loaders = {}, {}
for key in pairs(package) do package[key] = nil end
package.loaded, package.preload, package.loaders, package.seeall = loaded, preload, loaders, seeall
package.path, package.cpath, package.config = "./?.lua", "", "/\n;\n?\n!\n-\n"

local function compiled(name, text, chunk)
  local loader, problem = native_load(text, chunk, "t")
  if not loader then error("error loading module " .. name .. ":\n\t" .. place(problem), 0) end
  return loader
end

loaders[1] = function(name)
  return preload[name] or "\n\tno field package.preload['" .. name .. "']"
end
loaders[2] = function(name)
  local found = module(name)
  if found ~= nil then return function() return found end end
  local open, problem = plugin(name)
  if open then return open end
  if problem then error("error loading module " .. name .. ":\n\t" .. problem, 0) end
  return "\n\tno built-in module '" .. name .. "'"
end
loaders[3] = function(name)
  local loader, problem = library(name)
  if loader then return loader end
  if problem then error("error loading module " .. name .. ":\n\t" .. problem, 0) end
  return "\n\tno library '" .. name .. "'"
end
loaders[4] = function(name)
  local file, tried = gsub(name, "%.", "/"), ""
  for template in gmatch(package.path, "[^;]+") do
    local path = gsub(template, "%?", function() return file end)
    local text = slurp(path)
    if text then return compiled(name, text, "@" .. path) end
    tried = tried .. "\n\tstat " .. path .. ": no such file or directory"
  end
  return tried
end

-- Stands for a module whose loader has not returned.
local busy = {}

function require(name)
  if type(name) ~= "string" then expected(1, "require", "string", name) end
  local value = loaded[name]
  if value == busy then error("loop or previous error loading module: " .. name, 2) end
  if value then return value end
  local tried = ""
  for _, loader in ipairs(package.loaders) do
    local found = loader(name)
    if type(found) == "function" then
      loaded[name] = busy
      local result = found(name)
      if result ~= nil then
        loaded[name] = result
      elseif loaded[name] == busy then
        loaded[name] = true
      end
      return loaded[name]
    end
    tried = tried .. (type(found) == "string" and found or "")
  end
  error("module " .. name .. " not found:" .. tried, 2)
end

local function located(info, key)
  local file, line = match(place(info.short_src .. ":" .. info[key] .. ":"), "^(.*):(%d+):$")
  if not file then return end
  info[key] = tonumber(line)
  return file
end

-- Letters that are not options could make the native function take what is not there.
local function options(what)
  return type(what) == "string" and (gsub(what, "[^nSlufL]", "")) or "nSluf"
end

local function getinfo(thread, subject, what)
  local info
  if type(thread) == "thread" then
    info = native_getinfo(thread, subject, options(what))
  else
    local level = type(thread) == "number" and thread + 1 or thread
    info = native_getinfo(level, options(subject))
  end
  if info and info.short_src then
    local file = info.linedefined > 0 and located(info, "linedefined")
    file = (info.currentline or 0) > 0 and located(info, "currentline") or file
    if file then info.short_src, info.source = file, "@" .. file end
  end
  return info
end

local function traceback(thread, message, level)
  local other = type(thread) == "thread"
  if not other then message, level = thread, message end
  local kind = type(message)
  if kind ~= "string" and kind ~= "number" and kind ~= "nil" then return message end
  local trace
  if other then
    trace = native_traceback(thread, message or "", level or 0)
  else
    trace = native_traceback(message or "", (level or 1) + 1)
  end
  if message == nil then trace = gsub(trace, "^\n", "") end
  return place((gsub(trace, "at 0x%x+", "in ?")))
end

debug = {getinfo = getinfo, traceback = traceback}

local kept = {_G = _G, string = string, table = table, math = math, coroutine = coroutine, bit = bit}
for name in pairs(loaded) do loaded[name] = kept[name] end
loaded.io, loaded.os, loaded.debug, loaded.package = io, os, debug, package
