// Preloaded with `node --import`: whoever listens without naming an address listens on 127.0.0.1 only.
import net from "node:net";

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
  const [first] = args;
  if (first !== null && typeof first === "object") {
    if (first.port !== undefined) args[0] = { ...first, host: "127.0.0.1" };
  } else if (/^\d+$/.test(String(first)) && typeof args[1] !== "string") {
    args.splice(1, 0, "127.0.0.1");
  }
  return listen.apply(this, args);
};
