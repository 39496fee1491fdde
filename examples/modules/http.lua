--* subject: modules.http
--* name: http

-- Asks servers outside. The broker makes the requests, and only those that it may: a refusal is an error
-- that begins with `denied: `. Payload: one or more URLs, a line each.
--   printf 'https://example.com/\nhttps://example.org/' | curl --data-binary @- http://127.0.0.1:7643/modules.http

local http = require("http")

-- One request, all that can be said of it.
local function post(url, token)
  local response, problem = http.post(url, {
    query = "verbose=1",
    headers = { ["Content-Type"] = "application/json", ["Authorization"] = "Bearer " .. token },
    body = '{"hello":"world"}',
    timeout = "2s",
  })
  if not response then return nil, problem end
  return response.status_code, response.headers["Content-Type"], response.body
end

-- Several at once.
function OnMessage(subject, payload)
  local batch = {}
  for url in payload:gmatch("%S+") do
    batch[#batch + 1] = { "GET", url, { timeout = "5s" } }
  end
  local responses, errors = http.request_batch(batch)
  local lines = {}
  for _, response in ipairs(responses) do
    lines[#lines + 1] = response.url .. ": " .. response.status_code .. ", " .. response.body_size .. " bytes"
  end
  for _, problem in ipairs(errors or {}) do
    lines[#lines + 1] = problem
  end
  return table.concat(lines, "\n")
end
