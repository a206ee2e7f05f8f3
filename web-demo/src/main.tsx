import { render } from 'preact';
import { createApp } from './app';
import { AppContext } from './views/context';
import { Page } from './views/page';

const app = createApp();
render(
  <AppContext.Provider value={app}>
    <Page />
  </AppContext.Provider>,
  document.getElementById('app')!,
);
void app.start();
