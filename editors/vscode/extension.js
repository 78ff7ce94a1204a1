// Starts `nasc lsp` and connects the editor with it.

const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function start() {
  const command = vscode.workspace.getConfiguration("nasc").get("path", "nasc");
  const server = { command, args: ["lsp"] };
  const options = { documentSelector: [{ language: "nas" }] };
  client = new LanguageClient("nasc", "nasc", server, options);
  try {
    await client.start();
  } catch (error) {
    vscode.window.showErrorMessage(
      `nasc: \`${command} lsp\` does not start: ${error.message}. Install it with \`pip install 'nasc[lsp]'\`, ` +
        "or name its place in the setting `nasc.path`."
    );
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running && running.isRunning()) {
    await running.stop();
  }
}

async function restart() {
  await stop();
  await start();
}

function activate(context) {
  context.subscriptions.push(
    vscode.commands.registerCommand("nasc.restart", restart),
    vscode.workspace.onDidChangeConfiguration((change) => change.affectsConfiguration("nasc.path") && restart())
  );
  return start();
}

module.exports = { activate, deactivate: stop };
