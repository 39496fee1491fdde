--* subject: funcs.headers
--* name: headers

-- The third argument holds the message's headers. Over HTTP their names are lower-case.
--   curl -X POST -H 'X-Request-Id: 42' -d hi http://127.0.0.1:7643/funcs.headers
--   nats request -H X-Request-Id:42 funcs.headers hi

function OnMessage(subject, payload, headers)
  local lines = {}
  for name, value in pairs(headers or {}) do
    lines[#lines + 1] = name .. ": " .. tostring(value)
  end
  table.sort(lines)
  return #lines .. " headers with " .. #payload .. " bytes on " .. subject .. "\n" .. table.concat(lines, "\n")
end
