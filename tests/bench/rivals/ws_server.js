// Node `ws`, as its README broadcasts: one string per update, `send` for each socket.
'use strict';

const net = require('net');
const readline = require('readline');
const { WebSocketServer } = require('ws');

const sockets = new Map();
const offsets = new Map();

function publish(symbol, data) {
  const offset = (offsets.get(symbol) || 0) + 1;
  offsets.set(symbol, offset);
  const timestamp = new Date().toISOString();
  const text = JSON.stringify({ type: 'market_data_update', symbol, data, timestamp, offset });
  for (const socket of sockets.get(symbol) || []) socket.send(text);
}

const server = new WebSocketServer({ host: '127.0.0.1', port: +process.env.PORT, backlog: 2048 });
server.on('connection', (socket, request) => {
  const symbols = request.url.split('/').pop().split(',');
  for (const symbol of symbols) {
    if (!sockets.has(symbol)) sockets.set(symbol, new Set());
    sockets.get(symbol).add(socket);
  }
  socket.on('error', () => {});
  socket.on('close', () => symbols.forEach((symbol) => sockets.get(symbol).delete(socket)));
  socket.send(JSON.stringify({ type: 'connected', symbols }));
});

net
  .createServer((publisher) => {
    publisher.on('error', () => {});
    readline.createInterface({ input: publisher }).on('line', (line) => {
      for (const [symbol, data] of JSON.parse(line)) publish(symbol, data);
    });
  })
  .listen(+process.env.CONTROL_PORT, '127.0.0.1');
