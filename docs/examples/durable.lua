--* subject: orders.new
--* name: durable
--* stream: ORDERS
--* retries: 5
--* backoff: 1s, 10s, 1m
--* ack-wait: 30s

-- Each message of the stream ORDERS on this subject is run until it succeeds, or fails six times: then it is a
-- dead letter (`msgscriptcli dead list`). Needs a NATS server with JetStream, and the stream:
--
--   nats stream add ORDERS --subjects 'orders.>' --defaults

function OnMessage(subject, payload)
    if payload == "" then
        error("an order without content")
    end
    print("order: " .. payload)
    return ""
end
